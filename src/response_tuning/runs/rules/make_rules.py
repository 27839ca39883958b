"""``rt rules``: a run that answers with a model and rules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from response_tuning.conversation import Conversation
from response_tuning.models.adapter import write_base_record
from response_tuning.models.fingerprint import model_fingerprint
from response_tuning.models.load import load_tokenizer, require_model
from response_tuning.models.spec import parse_spec, require_local
from response_tuning.runs.folder import RunDirectory, check_folder, claim_folder
from response_tuning.runs.formats import resolve_format, trained_prefix
from response_tuning.runs.registry import kind_of
from response_tuning.runs.rules.rule_file import PUBLISHED, Rules, read_rules, select_rules, write_rules
from response_tuning.runs.rules.rules_config import RulesConfig
from response_tuning.runs.rules.weigh import ResolvedRules, resolve_rules
from response_tuning.support.configuration import changed
from response_tuning.support.errors import UserError
from response_tuning.support.files import write_json
from response_tuning.support.progress import warn

__all__ = ["RulesRunMade", "WeighedPiece", "make_rules"]


@dataclass(frozen=True)
class WeighedPiece:
    """A text of a rule on the model's tokenizer."""

    rule: str
    text: str
    weight: float
    ids: Sequence[int]
    """Empty where the tokenizer has no token of this text."""


@dataclass(frozen=True)
class RulesRunMade:
    """A run by rules, and what its rules are on its model's tokenizer."""

    path: Path
    rules: Rules
    format: str
    stop_tokens: Sequence[str]
    pieces: Sequence[WeighedPiece]

    @property
    def lacking(self) -> list[str]:
        """The texts that are no token of the model's."""
        return [piece.text for piece in self.pieces if not piece.ids]


def make_rules(config: RulesConfig) -> RulesRunMade:
    """Write a run by rules: ``config.yaml``, ``rules.yaml``, and ``tokens.json`` with the ids that the rules weigh.

    The same command on a finished folder changes nothing, unless ``rules.yaml`` was edited there, which is an error.

    Raises:
        UserError: there is no such model or rule, a file of rules is not valid, or the folder holds something else.
    """
    rules = select_rules(_rules_of(config.config), only=config.rules or None, without=config.without)
    conversation = _conversation(config)
    config = changed(config, format=conversation.format_name, model=_lasting(config.model))
    run, file = RunDirectory(config.output), config.output / "rules.yaml"
    check_folder(run.path, config)
    if file.exists() and read_rules(file) != rules:
        raise UserError(f"{file} holds other rules. Choose another --output, or delete the folder.")
    made = _made(config, rules, conversation)
    if made.lacking:
        warn(f"{config.model} has no token for {', '.join(map(repr, made.lacking))}: left out.")
    claim_folder(run.path, config)
    weights = model_fingerprint(config.model)
    write_base_record(run.path, run.path, spec=config.model, base=config.model, weights=weights, four_bit=False)
    write_json(run.path / "tokens.json", _tokens(made))
    if not file.exists():  # last: a folder is a run by rules once it has this file
        write_rules(file, rules)
    return made


def _rules_of(path: Path | None) -> Rules:
    return PUBLISHED if path is None else read_rules(path)


def _conversation(config: RulesConfig) -> Conversation:
    """The model's chat format; that there is the model is found out on the way."""
    require_local(config.model)
    kind = kind_of(config.model)
    if kind is not None:
        raise UserError(
            f"{config.model} is a run of the kind {kind.name}. Rules are for base models and trained runs: name one."
        )
    require_model(config.model)
    tokenizer = load_tokenizer(config.model)
    chosen = resolve_format(config.model, config.format, tokenizer)
    return Conversation(tokenizer, chosen, rt_prefix=trained_prefix(config.model, tokenizer))


def _lasting(spec: str) -> str:
    """A spec that names the same model from any folder."""
    path = parse_spec(spec).path
    return spec if path is None else str(path.absolute())


def _made(config: RulesConfig, rules: Rules, conversation: Conversation) -> RulesRunMade:
    resolved = resolve_rules(rules, conversation)
    return RulesRunMade(config.output, rules, conversation.format_name, conversation.stop_tokens, _pieces(resolved))


def _pieces(rules: ResolvedRules) -> list[WeighedPiece]:
    return [
        WeighedPiece(name, text, pieces.weights[text], ids)
        for name, pieces in rules.pieces.items()
        for text, ids in pieces.ids.items()
    ]


def _tokens(made: RulesRunMade) -> Mapping[str, object]:
    return {
        "format": made.format,
        "stop_tokens": list(made.stop_tokens),
        "pieces": [
            {"rule": piece.rule, "text": piece.text, "weight": piece.weight, "ids": list(piece.ids)}
            for piece in made.pieces
        ],
        "lacking": made.lacking,
    }
