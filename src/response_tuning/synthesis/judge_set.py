"""Self-J's training set: a model's answers with grades that nobody had to give (Ye & Ng 2024, arXiv 2409.00935).

A model answers instructions that have a reference. Two scores of each answer are standardised and averaged:

    self_rating   the expected digit, from 0 to 9, of the model's own rating when it sees the reference
    similarity    the cosine similarity of answer and reference (sentence embeddings)

and the averages are binned into ten classes of equal size, the grades 0 to 9; equal averages have equal grades. How the
paper scales the combination is not in its code: standardising and classes of equal size are our reading.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field, model_validator

from response_tuning.asking.ask_once import ledger_path, question_key
from response_tuning.asking.ledger import Ledger, open_ledger
from response_tuning.data.recipes.recipe import Made
from response_tuning.data.sampling import draw
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.example import Example, require_prompts
from response_tuning.models.dtype import with_fixed_dtype
from response_tuning.models.spec import require_local
from response_tuning.support.errors import UserError
from response_tuning.support.options import EMBEDDED, Device, Dtype, FormatName
from response_tuning.support.progress import progress_bar, warn

if TYPE_CHECKING:
    from response_tuning.inference.responder import Responder

__all__ = ["JudgeSet", "JudgeSetConfig", "grades"]

_CLASSES = 10


class JudgeSetConfig(BaseModel):
    """Have a model answer instructions and grade its answers by their references, to train a judge (Ye & Ng 2024).

    Re-run the same command to resume; OUTPUT.audit.jsonl holds every answer.

    For example:
        rt data judge-set pairs.jsonl --model runs/mine --output items.jsonl
        rt train --objective self-judge --method it --model runs/mine --data items.jsonl --output runs/judge
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    _fix_dtype = model_validator(mode="before")(with_fixed_dtype)

    source: Annotated[str, tyro.conf.Positional]
    """Instructions with reference answers: a file of pairs, or any other source that 'rt data prepare' reads."""
    output: Path
    """The JSONL file to write."""
    model: str = EMBEDDED
    """The run or model in this process that answers, and whose answers will be judged."""
    max_examples: int | None = Field(default=None, ge=1)
    """Use only this many instructions, drawn with the seed."""
    answers: int = Field(default=1, ge=1)
    """Answers to each instruction: the greedy one, and more that are sampled."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the answers that are sampled."""
    max_new_tokens: int = Field(default=256, ge=1)
    """The maximum length of an answer, in tokens."""
    batch_size: int = Field(default=40, ge=1)
    """Instructions answered at once."""
    format: FormatName | Literal["auto"] = "auto"
    """The chat format. auto: the one a run was trained with; tulu, or question-answer for the embedded model."""
    dtype: Dtype = "auto"
    """The dtype of the weights. auto: bfloat16, or float32 if the device is faster in it."""
    device: Device = "auto"
    """Where to compute."""
    seed: int = 0
    """Decides which instructions are drawn, and the sampled answers."""
    offline: bool = False
    """Fetch nothing; if a file is missing, the error says which one and where to put it."""


class JudgeSet:
    """``rt data judge-set``: a row for each answer, with its two scores and its grade."""

    name = "judge-set"
    config = JudgeSetConfig

    def make(self, config: JudgeSetConfig) -> Made:
        """Answer, rate with the reference in view, compare with the reference, and grade.

        Raises:
            UserError: the source cannot be read, has rows without a prompt or too few of them, or the model cannot be
                loaded here.
        """
        from response_tuning.models.sentences import row_similarities
        from response_tuning.runs.load import load_responder

        require_local(config.model)
        examples = load_examples(config.source, offline=config.offline)
        require_prompts(examples, source=config.source, purpose="a set for a judge")
        drawn = draw(examples, config.max_examples, seed=config.seed)
        if len(drawn) * config.answers < _CLASSES:
            raise UserError(
                f"{config.source} gives {len(drawn) * config.answers} answers, fewer than the {_CLASSES} grades. Give "
                "more data, or raise --max-examples or --answers."
            )
        responder = load_responder(
            config.model, config.format, dtype=config.dtype, device=config.device, purpose="rt data judge-set"
        )
        answered = _answered(config, drawn, responder)
        ratings = _own_ratings(answered, responder)
        similarities = row_similarities([answer for _, answer in answered], [each.completion for each, _ in answered])
        made = [
            _row(example, answer, grade, rating, similarity)
            for (example, answer), grade, rating, similarity in zip(
                answered, grades(ratings, similarities), ratings, similarities, strict=True
            )
        ]
        return Made(made, {f"graded {grade}": rows for grade, rows in sorted(_counts(made).items())})


def grades(ratings: Sequence[float], similarities: Sequence[float]) -> list[int]:
    """The grade, from 0 to 9, of each answer, from two scores of it on any scale.

    A score that is the same for all answers says nothing and counts nothing.
    """
    import numpy as np
    from scipy.stats import rankdata

    joined = np.zeros(len(ratings))
    for name, scores in (
        ("own rating", np.asarray(ratings)),
        ("similarity to its reference", np.asarray(similarities)),
    ):
        deviation = scores.std()
        if deviation < 1e-9:
            warn(f"every answer has the same {name}: it decides no grade")
            continue
        joined += (scores - scores.mean()) / deviation / 2
    # Equal answers are not told apart by rounding.
    ranks = rankdata(joined.round(6), method="average")
    return [min(_CLASSES - 1, int(_CLASSES * (rank - 0.5) / len(joined))) for rank in ranks]


def _answered(config: JudgeSetConfig, examples: Sequence[Example], responder: "Responder") -> list[tuple[Example, str]]:
    """Every answer to each example, which are in the ledger as soon as they exist."""
    from response_tuning.inference.generate import generate_responses
    from response_tuning.inference.sample import sample_responses
    from response_tuning.models.fingerprint import model_fingerprint

    settings = {
        "command": "judge-set",
        "model": model_fingerprint(config.model) or config.model,
        "max_new_tokens": config.max_new_tokens,
        "temperature": config.temperature,
        "seed": config.seed,
        "format": responder.conversation.format_name,
        "dtype": config.dtype,
    }
    instructions = list(dict.fromkeys(example.prompt or "" for example in examples))
    path = ledger_path(config.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_ledger(path, settings) as ledger, progress_bar("answering", len(instructions) * config.answers) as bar:
        missing = [text for text in instructions if _key(text, 0) not in ledger.rows]
        bar.advance(len(instructions) - len(missing))
        for batch in generate_responses(
            responder, missing, max_new_tokens=config.max_new_tokens, batch_size=config.batch_size
        ):
            for position, response in batch.items():
                _add(ledger, missing[position], 0, asdict(response))
            bar.advance(len(batch))
        for text in instructions if config.answers > 1 else ():
            bar.advance(config.answers - 1)
            if _key(text, config.answers - 1) in ledger.rows:
                continue
            samples = sample_responses(
                responder,
                text,
                count=config.answers - 1,
                max_new_tokens=config.max_new_tokens,
                temperature=config.temperature,
                seed=config.seed,
            )
            for number, sample in enumerate(samples, start=1):
                _add(ledger, text, number, asdict(sample))
        return [
            (example, str(ledger.rows[_key(example.prompt or "", number)]["text"]))
            for example in examples
            for number in range(config.answers)
        ]


def _key(instruction: str, number: int) -> str:
    return f"{question_key(instruction)}:{number}"


def _add(ledger: Ledger, instruction: str, number: int, response: dict[str, Any]) -> None:
    ledger.add({"key": _key(instruction, number), "instruction": instruction, **response})


def _own_ratings(answered: Sequence[tuple[Example, str]], responder: "Responder") -> list[float]:
    """The model's own rating, from 0 to 9, of each of its answers, with the reference in view."""
    from response_tuning.inference.choices import rate_by_digit
    from response_tuning.inference.judge_request import GRADES, judge_request

    requests = [judge_request(each.prompt or "", answer, reference=each.completion) for each, answer in answered]
    ratings = rate_by_digit(responder, requests, GRADES, shares=False, label="rating own answers by their references")
    return [rating.expected for rating in ratings]


def _row(example: Example, answer: str, grade: int, rating: float, similarity: float) -> Example:
    added = {"answer": answer, "grade": grade, "self_rating": round(rating, 4), "similarity": round(similarity, 4)}
    return Example.model_validate({**example.model_dump(exclude_unset=True), **added})


def _counts(made: Sequence[Example]) -> Counter[int]:
    return Counter((example.model_extra or {})["grade"] for example in made)
