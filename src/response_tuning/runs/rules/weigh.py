"""Rules on one tokenizer, and the weights that they add to logits: in generation, and where responses are scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor

from response_tuning.conversation import Conversation
from response_tuning.inference.prefix_cache import common_prefix
from response_tuning.runs.rules.pieces import format_marks, ids_of_piece
from response_tuning.runs.rules.rule_file import DiversityRule, EosRule, PiecesRule, Rules, Since

__all__ = ["ResolvedRules", "RuleProcessor", "TokenWeights", "resolve_rules"]


@dataclass(frozen=True)
class TokenWeights:
    """A pieces rule on one tokenizer."""

    weights: Mapping[str, float]
    """By text."""
    ids: Mapping[str, Sequence[int]]
    """The ids that have each text; none where the tokenizer has no such token."""
    first_tokens: int | None = None
    """Of the response, where the weights apply; None for all."""

    @property
    def lacking(self) -> list[str]:
        """The texts that are no token."""
        return [text for text, ids in self.ids.items() if not ids]

    @property
    def by_id(self) -> dict[int, float]:
        """The weight of every id; texts that share one add up."""
        total: dict[int, float] = {}
        for text, ids in self.ids.items():
            for token in ids:
                total[token] = total.get(token, 0.0) + self.weights[text]
        return total


@dataclass(frozen=True)
class ResolvedRules:
    """Rules on one tokenizer and chat format."""

    stop_ids: Sequence[int]
    growing: Sequence[EosRule]
    pieces: Mapping[str, TokenWeights]
    """By the rule's name."""
    occurred: Sequence[DiversityRule]

    def weigh(self, ids: Tensor, logits: Tensor, starts: Mapping[Since, Tensor]) -> Tensor:
        """Logits with the weights of every rule added.

        Args:
            ids: [rows, length] the tokens so far, padded on the left.
            logits: [rows, vocabulary] those of the next token.
            starts: [rows] the positions at which the instruction and the response begin in each row.

        Returns:
            [rows, vocabulary] in fp32, a new tensor.
        """
        logits = logits.to(torch.float32, copy=True)
        counts = ids.shape[1] - starts["response"]
        for pieces in self.pieces.values():
            _add_pieces(logits, pieces, counts)
        stops = torch.tensor(self.stop_ids, device=logits.device)
        stop_logits = logits[:, stops]
        for occurred in self.occurred:
            _add_occurred(logits, ids, starts[occurred.since], occurred.weight)
        for growing in self.growing:
            stop_logits = stop_logits + _grown(growing, counts)[:, None]
        logits[:, stops] = stop_logits  # those that occurred are exempt
        return logits


def resolve_rules(rules: Rules, conversation: Conversation) -> ResolvedRules:
    """Rules on the tokenizer and in the chat format of a conversation."""
    return ResolvedRules(
        stop_ids=conversation.stop_token_ids,
        growing=[rule for rule in rules.values() if isinstance(rule, EosRule)],
        pieces={name: _resolve(rule, conversation) for name, rule in rules.items() if isinstance(rule, PiecesRule)},
        occurred=[rule for rule in rules.values() if isinstance(rule, DiversityRule)],
    )


def _resolve(rule: PiecesRule, conversation: Conversation) -> TokenWeights:
    marks = {} if rule.marks is None else format_marks(conversation)
    ids = {text: ids_of_piece(conversation.tokenizer, text) for text in rule.weights}
    # A text that has a weight of its own keeps that one.
    weights = dict.fromkeys(marks, rule.marks or 0.0) | rule.weights
    return TokenWeights(weights, marks | ids, rule.first_tokens)


def _add_pieces(logits: Tensor, pieces: TokenWeights, counts: Tensor) -> None:
    by_id = pieces.by_id
    if not by_id:
        return
    ids = torch.tensor(list(by_id), device=logits.device)
    weights = torch.tensor(list(by_id.values()), device=logits.device).expand(len(logits), -1)
    if pieces.first_tokens is not None:
        weights = weights * (counts < pieces.first_tokens)[:, None]
    logits.index_add_(1, ids, weights)


def _grown(rule: EosRule, counts: Tensor) -> Tensor:
    """The weight [rows] after ``counts`` [rows] tokens of the response."""
    return torch.where(counts < rule.tokens, counts * (rule.weight / rule.tokens), rule.afterwards).to(torch.float32)


def _add_occurred(logits: Tensor, ids: Tensor, starts: Tensor, weight: float) -> None:
    """Add a weight once to every id at or after its row's start, without a mask over the vocabulary.

    An id may occur often: each occurrence writes the same sum. Positions before the start write that of the last one.
    """
    first = int(starts.min())
    if first >= ids.shape[1]:
        return
    ids = ids[:, first:]
    places = torch.arange(first, first + ids.shape[1], device=ids.device)
    ids = torch.where(places >= starts[:, None], ids, ids[:, -1:])
    weights = weight * (starts <= places[-1])
    logits.scatter_(1, ids, logits.gather(1, ids) + weights[:, None])


class RuleProcessor(LogitsProcessor):
    """Rules as a logits processor of one left-padded batch, in the form that ``Responder.processors`` makes."""

    def __init__(
        self, rules: ResolvedRules, prompts: Sequence[Sequence[int]], *, before_instruction: Sequence[int]
    ) -> None:
        """
        Args:
            rules: the rules.
            prompts: the ids of each row's prompt, not padded.
            before_instruction: the ids that prompts begin with, up to the instruction. An instruction begins where a
                prompt differs from them; so does the prefix of a response that has no instruction.
        """
        self._rules = rules
        width = max(map(len, prompts))
        begins = [width - len(prompt) + len(common_prefix([prompt, before_instruction])) for prompt in prompts]
        self._starts: dict[Since, Tensor] = {
            "instruction": torch.tensor(begins),
            "response": torch.full((len(prompts),), width),
        }

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """The scores [rows, vocabulary] of the next token of ``input_ids`` [rows, length], with the rules' weights."""
        starts = {since: start.to(input_ids.device) for since, start in self._starts.items()}
        return self._rules.weigh(input_ids, scores, starts)
