"""``rt in-context``: choose demonstrations, and write a run that answers after them."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from response_tuning.conversation import Conversation
from response_tuning.data.demonstrations.in_context_config import InContextConfig
from response_tuning.data.demonstrations.urial import read_urial, urial_preamble
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.data.sources.starter_sets import STARTER_DEMONSTRATIONS
from response_tuning.example import Example, require_prompts
from response_tuning.models.adapter import write_base_record
from response_tuning.models.context import context_of
from response_tuning.models.fingerprint import model_fingerprint
from response_tuning.models.load import load_model_config, load_tokenizer, require_model
from response_tuning.models.spec import parse_spec, require_local
from response_tuning.runs.folder import RunDirectory, check_folder, claim_folder
from response_tuning.runs.in_context.folder import InContextFolder
from response_tuning.runs.in_context.prompt import format_of
from response_tuning.runs.registry import kind_of
from response_tuning.support.errors import UserError
from response_tuning.support.options import STARTER

__all__ = ["InContextMade", "make_in_context"]

_DEFAULT_COUNT = 3
"""As URIAL has."""
_URIAL = "urial"


@dataclass(frozen=True)
class InContextMade:
    """An in-context run, and what its prompt takes."""

    path: Path
    demonstrations: int
    prefix_tokens: int
    """Tokens before the query: computed once, and shared by all prompts."""
    context: int | None
    """The most tokens that the model takes; None without a limit."""


def make_in_context(config: InContextConfig) -> InContextMade:
    """Write an in-context run: ``config.yaml``, ``preamble.txt`` and ``demonstrations.jsonl``.

    The same command on a finished folder changes nothing.

    Raises:
        UserError: there is no such model, the demonstrations cannot be read or are too few, they fill the
            model's context, or the folder holds something else.
    """
    _require_model(config.model)
    config = config.model_copy(update={"model": _lasting(config.model)})
    folder = InContextFolder(config.output)
    check_folder(config.output, config)
    if folder.is_in_context:
        return _made(config, *folder.read())
    preamble, demonstrations = _prompt(config)
    made = _made(config, preamble, demonstrations)
    claim_folder(config.output, config)
    weights = model_fingerprint(config.model)
    write_base_record(
        config.output, config.output, spec=config.model, base=config.model, weights=weights, four_bit=False
    )
    folder.write(preamble, demonstrations)
    return made


def _require_model(spec: str) -> None:
    """Require a model with weights, or a trained run."""
    require_local(spec)
    kind = kind_of(spec)
    if kind is not None:
        raise UserError(f"{spec} is a run of the kind {kind.name}, which nothing can be put before. Name its model.")
    path = parse_spec(spec).path
    if path is not None and RunDirectory(path).config.exists() and not RunDirectory(path).is_trained:
        raise UserError(f"{spec} is a run whose training has not finished.")
    require_model(spec)


def _lasting(spec: str) -> str:
    """The spec as it is valid from any folder."""
    path = parse_spec(spec).path
    return spec if path is None else str(path.absolute())


def _prompt(config: InContextConfig) -> tuple[str, list[Example]]:
    """The preamble and the demonstrations that the options ask for."""
    if config.style == "zero-shot":
        return "", []
    published, examples = _source(config)
    source = config.demonstrations or STARTER
    if config.count is not None and config.count > len(examples):
        raise UserError(f"{source} has {len(examples)} examples to show. Lower --count {config.count}.")
    shown = examples[: config.count or _DEFAULT_COUNT]
    if config.style == "pairs":
        require_prompts(shown, source=source, purpose="--style pairs")
        shown = [Example(prompt=example.prompt, completion=example.completion) for example in shown]
    else:
        shown = [Example(completion=example.completion) for example in shown]
    return _preamble(config, published), shown


def _source(config: InContextConfig) -> tuple[str | None, list[Example]]:
    """The examples that demonstrations are taken from, and the preamble that was published with them."""
    if config.demonstrations == _URIAL:
        return read_urial(offline=config.offline)
    spec = STARTER_DEMONSTRATIONS if config.demonstrations in (None, STARTER) else config.demonstrations
    examples = load_examples(spec, offline=config.offline)
    # A demonstration is one query and one answer: an answer that rests on earlier turns would show something else.
    alone = [example for example in examples if not example.earlier_turns]
    if not alone:
        raise UserError(f"{spec} has only examples with earlier turns, and a demonstration is one answer by itself.")
    return None, alone


def _preamble(config: InContextConfig, published: str | None) -> str:
    of_responses = config.style == "response"
    if config.preamble is not None:
        return _with_blank_line(_read_text(config.preamble))
    if published is not None:
        return urial_preamble(published, of_responses=of_responses)
    name = "response" if of_responses else "pairs"
    return (files("response_tuning.data.demonstrations") / f"preamble_{name}.txt").read_text(encoding="utf-8")


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"There is no file {path}.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error}") from error


def _with_blank_line(text: str) -> str:
    return text.rstrip() + "\n\n" if text.strip() else ""


def _made(config: InContextConfig, preamble: str, demonstrations: list[Example]) -> InContextMade:
    """What a run with this prompt is; raises where it fills the context, so that no query and response fit."""
    conversation = Conversation(load_tokenizer(config.model), format_of(preamble, demonstrations))
    tokens = len(conversation.prompt_ids(""))
    limit = context_of(load_model_config(config.model))
    if limit is not None and tokens >= limit:
        raise UserError(
            f"The preamble and {len(demonstrations)} demonstrations take {tokens:,} tokens, and the context of "
            f"{config.model} has {limit:,}. Lower --count, or choose shorter ones."
        )
    return InContextMade(config.output, len(demonstrations), tokens, limit)
