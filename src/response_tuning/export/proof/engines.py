"""Programs that read an exported model, each as an ``Engine`` for the proof."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from response_tuning.export.proof.proof import Continuation, Engine, Messages, messages_of
from response_tuning.support.errors import UserError
from response_tuning.support.options import Device, Dtype

__all__ = ["gguf_engine", "safetensors_engine"]

_CONTEXT_TOKENS = 4096


def safetensors_engine(folder: Path, *, stop_ids: Sequence[int], dtype: Dtype, device: Device) -> Engine:
    """transformers, loading an export's folder as any user would."""
    return _transformers_engine({"pretrained_model_name_or_path": str(folder)}, stop_ids, dtype, device)


def gguf_engine(path: Path, *, stop_ids: Sequence[int], device: Device) -> Engine:
    """llama.cpp where its package is installed, else transformers' own reader of GGUF files.

    Raises:
        UserError: the file cannot be loaded.
    """
    if find_spec("xllamacpp") is not None:
        return _llama_cpp_engine(path, stop_ids)
    location = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    return _transformers_engine(location, stop_ids, "float32", device)


def _transformers_engine(location: dict[str, str], stop_ids: Sequence[int], dtype: Dtype, device: Device) -> Engine:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    from response_tuning.export.proof.proof import answer_greedily
    from response_tuning.models.device import pick_device
    from response_tuning.models.embedded import dequantized

    is_gguf = "gguf_file" in location
    options = dequantized() if is_gguf else {}
    tokenizer = AutoTokenizer.from_pretrained(**location)
    model = AutoModelForCausalLM.from_pretrained(**location, dtype=getattr(torch, dtype), **options)
    model.eval().requires_grad_(False).to(pick_device(device))
    if is_gguf:  # a GGUF file has stop ids and no generation config
        model.generation_config = GenerationConfig(
            do_sample=False, eos_token_id=list(stop_ids), pad_token_id=stop_ids[-1]
        )

    def render(prompt: str | Messages) -> list[int]:
        return list(tokenizer.apply_chat_template(messages_of(prompt), add_generation_prompt=True, return_dict=False))

    def answer(ids: list[int], new_tokens: int) -> Continuation:
        return answer_greedily(model, ids, new_tokens, stop_ids=stop_ids)[0]

    return Engine("transformers", render, answer)


def _llama_cpp_engine(path: Path, stop_ids: Sequence[int]) -> Engine:
    """llama.cpp's server, in this process, on a free port of 127.0.0.1, while the engine is alive."""
    import torch
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.cpuparams.n_threads = torch.get_num_threads()
    parameters.cpuparams_batch.n_threads = torch.get_num_threads()
    parameters.n_ctx = _CONTEXT_TOKENS
    parameters.n_parallel = 1
    parameters.n_gpu_layers = 0
    parameters.warmup = False
    parameters.verbosity = -1
    try:
        server = xllamacpp.Server(parameters)
    except RuntimeError as error:
        raise UserError(f"llama.cpp cannot load the GGUF file {path.name}: {error}") from error

    def post(place: str, body: dict[str, Any]) -> Any:
        request = Request(server.listening_address + place, json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        with urlopen(request) as response:
            return json.loads(response.read())

    def render(prompt: str | Messages) -> list[int]:
        text = post("/apply-template", {"messages": messages_of(prompt)})["prompt"]
        return list(post("/tokenize", {"content": text, "add_special": True, "parse_special": True})["tokens"])

    def step(ids: list[int]) -> tuple[int, float | None]:
        request = {"prompt": ids, "n_predict": 1, "temperature": 0, "n_probs": 1, "return_tokens": True}
        result = post("/completion", request)
        (token,) = result["tokens"]
        scores = result.get("completion_probabilities", [])  # empty for a token that ends within a character
        return token, scores[0]["logprob"] if scores else None

    def answer(ids: list[int], new_tokens: int) -> Continuation:
        tokens: list[int] = []
        scores: list[float | None] = []
        # One token per request: for several, llama.cpp does not report which of them has no score.
        while len(tokens) < new_tokens and not (tokens and tokens[-1] in stop_ids):
            token, score = step([*ids, *tokens])
            tokens.append(stop_ids[0] if token in stop_ids else token)
            scores.append(score)
        return Continuation(tokens, scores)

    return Engine("llama.cpp", render, answer)
