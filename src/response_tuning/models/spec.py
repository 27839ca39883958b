"""The one grammar of model specs: what ``--model``, ``--judge`` and every RUN argument accept, in every command.

| spec                          | kind              | what it names                                                |
|-------------------------------|-------------------|--------------------------------------------------------------|
| ``embedded``                  | embedded          | Gemma 3 270M, a base model that comes as a Python package    |
| ``embedded-instruct``         | embedded-instruct | SmolLM2-135M-Instruct, from a Python package                 |
| ``FILE.gguf``                 | gguf              | a GGUF file, imported once into the user's cache             |
| a path                        | folder            | a model's folder, a run, or a checkpoint that a run kept     |
| ``OWNER/NAME[@REVISION]``     | hub               | a model of the Hugging Face hub, loaded in this process      |
| ``hub:OWNER/NAME[@REVISION]`` | hub               | the same, where OWNER is also a provider's name (``google``) |
| ``PROVIDER/NAME``             | provider          | a model that Inspect AI asks; PROVIDER is in ``PROVIDERS``   |
| ``inspect:PROVIDER/NAME``     | provider          | the same, with a provider that another package brings        |

The first rule that fits decides, in this order: ``hub:`` and ``inspect:``, a provider, an embedded model, ``.gguf``, a
path, the hub. A path is what exists on the disk, begins with ``/``, ``./`` or ``../``, or has two slashes. So a
provider's prefix never depends on the disk: a folder ``openai/mine`` is written ``./openai/mine``.

A spec is kept as it was typed: results and ledgers are keyed by it, or by the model's fingerprint.
"""

import difflib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from response_tuning.support.errors import UserError
from response_tuning.support.options import EMBEDDED, EMBEDDED_INSTRUCT
from response_tuning.support.progress import warn

__all__ = [
    "GRAMMAR",
    "PROVIDERS",
    "ModelSpec",
    "SpecKind",
    "is_local",
    "parse_spec",
    "require_local",
    "spec_of",
    "suggestion",
]

SpecKind = Literal["embedded", "embedded-instruct", "gguf", "folder", "hub", "provider"]

PROVIDERS = frozenset(
    {
        *("anthropic", "azureai", "bedrock", "cloudflare", "deepseek", "fireworks", "google", "grok", "groq", "hf"),
        *("hf-inference-providers", "litellm-proxy", "llama-cpp-python", "meta", "mistral", "mockllm", "moonshot"),
        *("nnterp", "none", "ollama", "openai", "openai-api", "openai-api-completions", "openrouter", "perplexity"),
        *("sagemaker", "sambanova", "sglang", "together", "transformer_lens", "vllm", "vllm-completions"),
    }
)
"""The providers of Inspect AI 0.3 (inspect_ai/model/_providers/providers.py)."""

_HUB_OWNERS = frozenset({"google"})
"""Providers whose names are also those of owners on the hub, of base models that people train (Gemma)."""

GRAMMAR = (
    "A model is 'embedded', 'embedded-instruct', a run, a folder, a .gguf file, a hub id OWNER/NAME[@REVISION] "
    "(hub:OWNER/NAME where OWNER is a provider too), or PROVIDER/NAME of Inspect AI, such as openai/gpt-5-mini."
)
"""The grammar in one sentence, for error messages."""

_HUB_PREFIX = "hub:"
_PROVIDER_PREFIX = "inspect:"


@dataclass(frozen=True)
class ModelSpec:
    """A parsed model spec."""

    text: str
    """As it was typed."""
    kind: SpecKind
    name: str
    """Without prefix and revision: a path, a hub id, or PROVIDER/NAME."""
    revision: str | None = None
    """A branch, tag or commit of a hub id; None for its default branch."""

    @property
    def is_local(self) -> bool:
        """Whether the model runs in this process."""
        return self.kind != "provider"

    @property
    def path(self) -> Path | None:
        """Where a folder, a run or a GGUF file is, whether it exists or not; None for the other kinds."""
        return Path(self.name) if self.kind in ("gguf", "folder") else None


def parse_spec(text: str) -> ModelSpec:
    """Parse a model spec. Never fails: whether there is such a model is found out when it is loaded."""
    if text.startswith(_HUB_PREFIX):
        return _hub_spec(text, text.removeprefix(_HUB_PREFIX))
    if text.startswith(_PROVIDER_PREFIX):
        return ModelSpec(text, "provider", text.removeprefix(_PROVIDER_PREFIX))
    owner, slash, _ = text.partition("/")
    if slash and owner in PROVIDERS:
        return ModelSpec(text, "provider", text)
    if text == EMBEDDED:
        return ModelSpec(text, "embedded", text)
    if text == EMBEDDED_INSTRUCT:
        return ModelSpec(text, "embedded-instruct", text)
    if text.endswith(".gguf"):
        return ModelSpec(text, "gguf", text)
    if _is_path(text):
        return ModelSpec(text, "folder", text)
    return _hub_spec(text, text)


def spec_of(model: str | Path) -> str:
    """A spec for Python's callers, who may name a run or a model by its path."""
    return model if isinstance(model, str) else str(model.absolute())


def is_local(text: str) -> bool:
    """Whether a model spec names a model that runs in this process."""
    return parse_spec(text).is_local


def require_local(text: str) -> ModelSpec:
    """Parse the spec of a model whose weights are needed.

    Where an owner on the hub has a provider's name (``google``), OWNER/NAME means the hub's model here, with a warning.

    Raises:
        UserError: it names nothing, or is a provider's, which only answers questions.
    """
    spec = parse_spec(text)
    if not spec.name or text.endswith("@"):
        raise UserError(f"{text!r} names no model. {GRAMMAR}")
    if spec.is_local:
        return spec
    provider, _, name = text.partition("/")
    if provider in _HUB_OWNERS and "/" not in name:
        _warn_once(f"{text}: taken for the hub's model, since its weights are needed. Its full name is hub:{text}.")
        return _hub_spec(text, text)
    folder = f" The folder is ./{text}." if Path(text).exists() else ""
    raise UserError(
        f"{text!r} is a model of Inspect AI's provider {provider!r}, which only answers questions: its weights cannot "
        f"be loaded here. The hub's model of this name is {_HUB_PREFIX}{text}.{folder}"
    )


@cache
def _warn_once(message: str) -> None:
    warn(message)


def suggestion(text: str) -> str:
    """`` Did you mean ...?`` for a spec that names nothing: an embedded model, or a neighbour in the same folder.

    Empty where nothing is similar.
    """
    path = Path(text)
    known = [EMBEDDED, EMBEDDED_INSTRUCT] if "/" not in text else []
    neighbours = [str(item) for item in path.parent.iterdir()] if path.parent.is_dir() else []
    by_name = {Path(candidate).name: candidate for candidate in (*neighbours, *known)}
    near = difflib.get_close_matches(path.name, by_name, n=1, cutoff=0.75)
    return f" Did you mean {by_name[near[0]]!r}?" if near else ""


def _is_path(text: str) -> bool:
    if text.startswith(("/", "./", "../")) or text in (".", "..") or Path(text).exists():
        return True
    return text.partition("@")[0].count("/") > 1  # a revision may have slashes, such as refs/pr/1


def _hub_spec(text: str, hub_id: str) -> ModelSpec:
    name, _, revision = hub_id.partition("@")
    return ModelSpec(text, "hub", name, revision or None)
