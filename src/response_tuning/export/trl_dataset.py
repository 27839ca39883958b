"""Bring your own trainer: the same token ids and supervised positions, as a data set that TRL uses unchanged."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from response_tuning.conversation import Conversation, EncodedExample, encode_examples
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.example import Example, example_from, require_prompts
from response_tuning.support.errors import UserError
from response_tuning.support.options import FormatName, Method, Overlong, Prefix
from response_tuning.support.progress import say

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

__all__ = ["to_trl"]

_NO_LOSS = -100
"""The label that PyTorch's cross-entropy, and therefore TRL, ignores."""


def to_trl(
    dataset: str | Path | Iterable[Example | Mapping[str, Any]],
    tokenizer: "PreTrainedTokenizerBase",
    method: Method,
    *,
    format_name: FormatName = "tulu",
    rt_prefix: Prefix = "none",
    max_length: int = 1024,
    overlong: Overlong = "error",
) -> "Dataset":
    """Encode a data set for TRL's ``SFTTrainer``, exactly as ``rt train`` would.

    Sets the tokenizer's ``chat_template`` to that of the format, so that the template which the trainer saves with the
    model renders the prompts that responses are trained after. The stop tokens belong in the model's
    ``generation_config``.

        tokenizer = AutoTokenizer.from_pretrained(base)
        rows = to_trl("answers.jsonl", tokenizer, "rt")
        SFTTrainer(base, args=SFTConfig(max_length=1024), train_dataset=rows, processing_class=tokenizer).train()

    Args:
        dataset: A data spec as for ``rt train --data``, or rows with ``completion`` and, for instruction tuning,
            ``prompt``: examples, dictionaries, or a ``datasets.Dataset``.
        tokenizer: The base model's.
        method: "rt", responses alone, or "it", instruction-response pairs.
        format_name: The chat format.
        rt_prefix: The prefix before the assistant header in response tuning.
        max_length: The most tokens an example may have; defaults to TRL's. TRL silently truncates longer rows to its
            own ``max_length``, without a stop token: set that to at least this value.
        overlong: What to do with longer examples.

    Returns:
        A row per example: ``input_ids``, and ``labels`` of the same length that are -100 up to the response.

    Raises:
        UserError: a bad row, instruction tuning without prompts, an example that is too long, or the package
            ``datasets`` is missing.
    """
    try:
        from datasets import Dataset
    except ImportError as error:
        raise UserError("A data set for TRL needs the package datasets: pip install 'response-tuning[hub]'.") from error

    examples = load_examples(str(dataset)) if isinstance(dataset, str | Path) else _examples(dataset)
    if method == "it":
        source = str(dataset) if isinstance(dataset, str | Path) else "The data set"
        require_prompts(examples, source=source, purpose='instruction tuning (method "it")')
    conversation = Conversation(tokenizer, format_name, rt_prefix=rt_prefix)
    encoded, report = encode_examples(examples, conversation, method, max_length=max_length, overlong=overlong)
    changed = len(report.rows_dropped_overlong), len(report.rows_truncated)
    if any(changed):
        say(f"{report.rows_read} rows: {changed[0]} too long and dropped, {changed[1]} too long and truncated")
    tokenizer.chat_template = conversation.chat_template
    return Dataset.from_dict(
        {"input_ids": [example.input_ids for example in encoded], "labels": [_labels(example) for example in encoded]}
    )


def _labels(example: EncodedExample) -> list[int]:
    return [_NO_LOSS] * example.prompt_length + example.input_ids[example.prompt_length :]


def _examples(rows: Iterable[Example | Mapping[str, Any]]) -> list[Example]:
    examples = []
    for number, row in enumerate(rows, start=1):
        try:
            examples.append(row if isinstance(row, Example) else example_from(dict(row)))
        except ValueError as error:
            raise UserError(f"Row {number} of the data set {error}") from error
    if not examples:
        raise UserError("The data set holds no rows.")
    return examples
