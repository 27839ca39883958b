"""How many tokens a model takes."""

from collections.abc import Sequence

from transformers import PreTrainedConfig

from response_tuning.conversation import EncodedExample, EncodingReport
from response_tuning.support.errors import UserError

__all__ = ["context_of", "require_context"]

_NAMES = ("max_position_embeddings", "max_seq_len", "max_sequence_length")


def context_of(config: PreTrainedConfig) -> int | None:
    """The most tokens of a prompt and a response together; None for a model without a limit, such as one with ALiBi."""
    text_config = config.get_text_config()
    limits = [getattr(text_config, name, None) for name in _NAMES]
    return next((limit for limit in limits if isinstance(limit, int) and limit > 0), None)


def require_context(
    encoded: Sequence[EncodedExample], report: EncodingReport, config: PreTrainedConfig, *, source: str
) -> None:
    """Require that each example of a training fits the model's context, in which alone its positions mean something.

    Raises:
        UserError: one does not; names its row in ``source``.
    """
    limit = context_of(config)
    dropped = set(report.rows_dropped_overlong)
    kept = (row for row in range(1, report.rows_read + 1) if row not in dropped)
    for row, example in zip(kept, encoded, strict=True):
        if limit is not None and len(example.input_ids) > limit:
            raise UserError(
                f"{source}, row {row} takes {len(example.input_ids):,} tokens, and the model's context has {limit:,}. "
                f"Choose --max-length {limit} with --overlong drop or --overlong truncate."
            )
