"""Load the model, the tokenizer or the architecture that a model spec names (``models.spec`` has the grammar)."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import init_empty_weights
from huggingface_hub import HfApi, try_to_load_from_cache
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from response_tuning.models.adapter import adapter_folder, base_of_adapter, base_record, recorded_base
from response_tuning.models.device import pick_device
from response_tuning.models.dtype import fixed_dtype, warn_of_emulation
from response_tuning.models.embedded import embedded_instruct_file, import_embedded, import_gguf
from response_tuning.models.fingerprint import weights_fingerprint
from response_tuning.models.four_bit import keep_packed_weights, nf4
from response_tuning.models.heads import keep_head_input_contiguous
from response_tuning.models.merge import merge_adapter
from response_tuning.models.spec import GRAMMAR, ModelSpec, parse_spec, require_local, suggestion
from response_tuning.support.commands import command
from response_tuning.support.errors import UserError
from response_tuning.support.options import EMBEDDED, Device, Dtype
from response_tuning.support.progress import say

__all__ = [
    "LoadedModel",
    "load_base_of",
    "load_model",
    "load_model_config",
    "load_tokenizer",
    "load_without_weights",
    "require_model",
    "require_same_base",
    "resolve_model",
    "sharing_weights",
    "weights_identity",
]


_shared: ContextVar[dict[object, "LoadedModel"] | None] = ContextVar("shared", default=None)


@dataclass(frozen=True)
class LoadedModel:
    """A causal language model in evaluation mode, with its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    path: str
    """The folder or hub id that the base weights came from."""
    revision: str | None = None
    """The commit of a hub id that was loaded, or the revision that the spec names."""
    adapter: str | None = None
    """The adapter's folder that was merged into the base weights, if there was one."""

    @property
    def origin(self) -> str:
        """The folder or hub id that these very weights are loaded from again."""
        return self.adapter or self.path


def resolve_model(spec: str) -> str:
    """The folder or hub id that a spec's weights are loaded from. A GGUF file is imported first.

    Raises:
        UserError: there is no such model, the folder holds none, or it is a provider's.
    """
    parsed = require_local(spec)
    match parsed.kind:
        case "embedded":
            return str(import_embedded())
        case "embedded-instruct":
            return str(import_gguf(embedded_instruct_file()))
        case "gguf":
            return str(import_gguf(Path(parsed.name)))
        case "folder":
            return str(_folder_with_model(Path(parsed.name)))
        case _:
            _require_from_hub(parsed)
            return parsed.name


def require_model(spec: str) -> None:
    """Check that a model can be loaded, without loading it: of a run with an adapter, its base model.

    Raises:
        UserError: as ``resolve_model``.
    """
    resolve_model(_base_spec(spec))


def load_model(
    spec: str, *, dtype: Dtype = "auto", device: Device = "auto", four_bit: bool = False, dequantized: bool = False
) -> LoadedModel:
    """Load the model that ``spec`` names. A run's adapter is merged into its base model.

    Args:
        spec: a model spec.
        dtype: of the weights; with ``four_bit`` of the weights that are not quantised, and of matmuls.
        device: where to load it.
        four_bit: quantise the linear layers other than the head (``nf4``).
        dequantized: merge an adapter that was trained over 4-bit weights into those, as plain numbers again.

    Raises:
        UserError: there is no such model, or it cannot be loaded.
    """
    dtype = fixed_dtype(dtype, device)
    warn_of_emulation(dtype, device)
    adapter = adapter_folder(spec)
    if adapter is not None:
        if four_bit:
            raise UserError(
                f"{spec} holds an adapter, which cannot be merged into 4-bit weights. Name its base model instead."
            )
        return _load_adapted(adapter, dtype=dtype, device=device, dequantized=dequantized)
    shared = _shared.get()
    if shared is None:
        return _load_plain(spec, dtype=dtype, device=device, four_bit=four_bit)
    key = (weights_identity(spec), dtype, device, four_bit)
    if key not in shared:
        shared[key] = _load_plain(spec, dtype=dtype, device=device, four_bit=four_bit)
    return shared[key]


@contextmanager
def sharing_weights() -> Iterator[None]:
    """Within the block, a model that several runs are made from is loaded once: nobody may change its weights."""
    token = _shared.set({})
    try:
        yield
    finally:
        _shared.reset(token)


def weights_identity(spec: str) -> tuple[str, str | None]:
    """What two specs of the same weights have in common: an adapter, or the folder or hub id and its revision.

    Raises:
        UserError: as ``resolve_model``.
    """
    adapter = adapter_folder(spec)
    if adapter is not None:
        return str(adapter.resolve()), None
    place = resolve_model(spec)
    return (str(Path(place).resolve()) if Path(place).exists() else place), require_local(spec).revision


def _load_plain(spec: str, *, dtype: Dtype, device: Device, four_bit: bool) -> LoadedModel:
    picked = pick_device(device)
    placing = nf4(dtype, picked) if four_bit else _placed(picked)
    path, revision = resolve_model(spec), require_local(spec).revision
    say(f"loading {spec}")
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path, dtype=getattr(torch, dtype), use_safetensors=True, **_safely(revision), **placing
        )
        tokenizer = AutoTokenizer.from_pretrained(path, **_safely(revision))
    except (OSError, ValueError) as error:
        raise _cannot_load(spec, error) from error
    model.eval().requires_grad_(False)
    keep_head_input_contiguous(model)
    if four_bit:
        keep_packed_weights(model)
    else:
        model.to(device=picked)  # type: ignore[call-arg]
    commit = getattr(model.config, "_commit_hash", None) if require_local(spec).kind == "hub" else None
    return LoadedModel(model, tokenizer, path, commit or revision)


def load_without_weights(spec: str, *, dtype: Dtype) -> LoadedModel:
    """Load the model that ``spec`` names on the CPU with uninitialised weights, to be filled by another rank.

    Their memory is allocated and not touched, so each weight takes up memory only once it is filled. Buffers, such as
    the frequencies of position embeddings, have their values.

    Raises:
        UserError: there is no such model.
    """
    base = _base_spec(spec)
    config, tokenizer = load_model_config(spec), load_tokenizer(spec)
    with init_empty_weights(include_buffers=False):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            config, dtype=getattr(torch, dtype), trust_remote_code=False
        )
    model.tie_weights()
    allocated: dict[nn.Parameter, nn.Parameter] = {}  # tied weights share one
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            if weight not in allocated:
                allocated[weight] = nn.Parameter(torch.empty_like(weight, device="cpu"), requires_grad=False)
            setattr(module, name, allocated[weight])
    return LoadedModel(model.eval(), tokenizer, resolve_model(base), require_local(base).revision)


def load_model_config(spec: str) -> PreTrainedConfig:
    """Load the architecture of the model that ``spec`` names, without its weights. A run has that of its base model.

    Raises:
        UserError: there is no such model.
    """
    base = _base_spec(spec)
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            resolve_model(base), **_safely(require_local(base).revision)
        )
    except (OSError, ValueError) as error:
        raise _cannot_load(spec, error) from error
    return config


def load_tokenizer(spec: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of the model that ``spec`` names, without its weights.

    Raises:
        UserError: there is no such model.
    """
    adapter = adapter_folder(spec)
    path = resolve_model(spec) if adapter is None else str(adapter)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, **_safely(require_local(spec).revision))
    except (OSError, ValueError) as error:
        raise _cannot_load(spec, error) from error
    return cast(PreTrainedTokenizerBase, tokenizer)


def _safely(revision: str | None) -> dict[str, Any]:
    """Arguments of every ``from_pretrained``."""
    return {"trust_remote_code": False} | ({} if revision is None else {"revision": revision})


def _placed(device: torch.device) -> dict[str, Any]:
    """Arguments that load weights straight to a GPU: of several processes, each would hold a copy in main memory."""
    return {"device_map": {"": device}} if device.type == "cuda" else {}


def _load_adapted(adapter: Path, *, dtype: Dtype, device: Device, dequantized: bool) -> LoadedModel:
    from peft import PeftModel

    token = _shared.set(None)  # merging changes the weights
    try:
        base = load_base_of(adapter, dtype=dtype, device=device, dequantized=dequantized)
    finally:
        _shared.reset(token)
    merged = merge_adapter(PeftModel.from_pretrained(base.model, str(adapter)))
    merged.eval().requires_grad_(False)
    if (adapter / "generation_config.json").is_file():
        merged.generation_config = GenerationConfig.from_pretrained(str(adapter))
    tokenizer = AutoTokenizer.from_pretrained(str(adapter))
    return LoadedModel(merged, tokenizer, base.path, base.revision, str(adapter.absolute()))


def load_base_of(adapter: Path, *, dtype: Dtype, device: Device, dequantized: bool = False) -> LoadedModel:
    """Load the base model of an adapter.

    Raises:
        UserError: it is not there, or its weights are not those that the adapter was trained beside.
    """
    record, spec = base_record(adapter), base_of_adapter(adapter)
    place = parse_spec(spec).path
    if place is not None and not place.exists():
        raise UserError(f"The base model of {adapter} is not there any more: {spec}. Put it back, or train again.")
    packed = bool(record.get("four_bit"))
    base = load_model(spec, dtype=dtype, device=device, four_bit=packed and dequantized)
    require_same_base(adapter, base)
    if not packed:
        return base
    if dequantized:
        return replace(base, model=base.model.dequantize())
    say(f"{adapter} was trained over 4-bit weights; it is merged into those of {base.path}, which were not rounded")
    return base


def require_same_base(adapter: Path, base: LoadedModel) -> None:
    """Require that a loaded model has the weights that an adapter was trained beside, as far as its record tells.

    Raises:
        UserError: it has others.
    """
    spec = base_of_adapter(adapter)
    expected, found = base_record(adapter).get("weights"), weights_fingerprint(base.origin)
    if expected and found and expected != found and spec != EMBEDDED:
        raise UserError(
            f"The base model {spec} changed since {adapter} was trained on it: its weights have the fingerprint "
            f"{found} and had {expected}. Put the old weights back, or train again."
        )


def _base_spec(spec: str) -> str:
    """The spec itself; of a run with an adapter, that of its base model, which may be such a run as well."""
    while (adapter := adapter_folder(spec)) is not None:
        spec = base_of_adapter(adapter)
    return spec


def _folder_with_model(path: Path) -> Path:
    """The folder that holds ``config.json`` and weights: a run's ``model``, or ``path`` itself."""
    if (path / "model" / "config.json").exists():  # a run that trained every weight
        return path / "model"
    if (path / "config.json").exists():
        return path
    if (path / "config.yaml").exists() and (path / "data.json").exists():
        raise UserError(
            f"The training in {path} has not finished, so there is no model yet. Resume it: "
            + command("train", "--config", path / "config.yaml", "--output", path)
        )
    if base_record(path):
        raise UserError(
            f"{path} is a run that nobody trained: it has no weights of its own. Name its model, {recorded_base(path)}."
        )
    if path.is_dir():
        raise UserError(
            f"The folder {path} holds neither a model (config.json) nor a finished run (adapter/ or model/)."
        )
    raise UserError(f"There is no model {str(path)!r}: no such folder.{suggestion(str(path))} {GRAMMAR}")


def _require_from_hub(spec: ModelSpec) -> None:
    """Fail at once, where loading would try for a minute, if a model is neither cached nor available from the hub.

    Raises:
        UserError: it is neither; or a folder of the same name would be loaded in its place.
    """
    if Path(spec.name).exists():
        raise UserError(
            f"{spec.text!r} names a model of the hub, but there is a folder {spec.name} here, which would be loaded in "
            "its place. A folder has no revision: name it without one, or run the command elsewhere."
        )
    try:
        if not isinstance(try_to_load_from_cache(spec.name, "config.json", revision=spec.revision), str):
            HfApi().model_info(spec.name, timeout=10, revision=spec.revision)
    except Exception as error:  # the hub's client has many kinds, and has changed them
        raise _cannot_load(spec.text, error) from error


def _cannot_load(text: str, error: Exception) -> UserError:
    reason = str(error).splitlines()[0]
    spec = parse_spec(text)
    if spec.kind != "hub":
        return UserError(f"The model {text} cannot be loaded: {reason}")
    return UserError(
        f"There is no model {text!r}: no folder or file of that name, and the Hugging Face hub has none or is "
        f"unreachable ({reason}).{suggestion(text)} {GRAMMAR}"
    )
