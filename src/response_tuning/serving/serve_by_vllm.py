"""Start vLLM for runs, prove it, and wait for Ctrl-C."""

import gc
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path

from response_tuning.export.proof.proof import Reference, make_reference
from response_tuning.inference.responder import Responder
from response_tuning.models.adapter import adapter_folder, base_of_adapter
from response_tuning.models.load import load_model_config, load_tokenizer
from response_tuning.runs.load import load_responder
from response_tuning.runs.registry import kind_of
from response_tuning.runs.trained import conversation_of
from response_tuning.serving.http_proof import prove_served, tolerance_of
from response_tuning.serving.listening import address_of, is_of_this_machine_alone, listen
from response_tuning.serving.serve_config import ServeConfig
from response_tuning.serving.vllm import VllmRun, require_servable, running_vllm, vllm_command, wait_until_healthy
from response_tuning.support.errors import UserError
from response_tuning.support.progress import say, warn

__all__ = ["serve_by_vllm"]

_CONTROL_TOKENS = (
    "vLLM reads the text of a control token in a message, such as <|im_end|>, as the token: reject such messages, or "
    "send the token ids of Conversation.prompt_ids to /v1/completions. The other engines of rt serve read it as text."
)


def serve_by_vllm(config: ServeConfig, runs: Mapping[str, str]) -> None:
    """Serve runs by vLLM until Ctrl-C, or print its command with ``show_command``.

    Raises:
        UserError: vLLM cannot serve them, is not installed or does not start, or does not answer as the runs do.
    """
    servable = [_vllm_run(name, spec, config) for name, spec in runs.items()]
    require_servable(servable)
    warn(_CONTROL_TOKENS)
    if config.show_command:
        folder = Path(tempfile.mkdtemp(prefix="response-tuning-vllm-"))  # kept: the command names its files
        print(shlex.join(vllm_command(servable, folder, host=config.host, port=config.port, dtype=config.dtype)))
        return
    listening = listen(config.host, config.port)  # whether the port is free
    url, port, is_private = address_of(listening), listening.getsockname()[1], is_of_this_machine_alone(listening)
    listening.close()
    with tempfile.TemporaryDirectory() as folder_name:
        typed = vllm_command(servable, Path(folder_name), host=config.host, port=port, dtype=config.dtype)
        references = {name: _reference(name, spec, config) for name, spec in runs.items()}
        with running_vllm(typed) as process:
            say(f"starting {shlex.join(typed)}")
            try:
                wait_until_healthy(url, process)
                for name, (responder, reference) in references.items():
                    tolerance = tolerance_of("bfloat16")  # other kernels round otherwise in every dtype
                    say(str(prove_served(url, name, reference, responder, engine="vLLM", tolerance=tolerance)))
                if not is_private:
                    warn(f"{url}: every machine that reaches this one can use the server. It asks for no password.")
                say(f"Serving {', '.join(runs)}. OpenAI clients: {url}/v1   Ctrl-C ends.")
                code = process.wait()
            except KeyboardInterrupt:
                say("stopped")
                return
        raise UserError(f"vLLM ended with code {code}; its messages are above.")


def _vllm_run(name: str, spec: str, config: ServeConfig) -> VllmRun:
    if kind_of(spec) is not None:
        raise UserError(f"{name} has no weights of its own, so vLLM cannot serve it. Leave out --engine vllm.")
    adapter = adapter_folder(spec)
    base = spec if adapter is None else base_of_adapter(adapter)
    if adapter_folder(base) is not None and adapter is not None:
        raise UserError(f"{name} is an adapter on another run's adapter, {base}. Merge it: rt export.")
    load_model_config(spec)  # whether there is such a model
    conversation = conversation_of(spec, config.format, load_tokenizer(spec))
    return VllmRun(name, spec, base, adapter, conversation.chat_template, tuple(conversation.stop_token_ids))


def _reference(name: str, spec: str, config: ServeConfig) -> tuple[Responder, list[Reference]]:
    """What a run answers in this process, which lets go of its weights: vLLM takes the memory."""
    import torch

    responder = load_responder(spec, config.format, dtype=config.dtype, device=config.device)
    say(f"answering {config.check_prompts} instructions as {name} does")
    reference = make_reference(responder, prompts=config.check_prompts, new_tokens=config.check_tokens)
    responder.loaded.model.to(device="meta")  # type: ignore[call-arg]
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return responder, reference
