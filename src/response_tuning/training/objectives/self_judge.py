"""Self-J: a model learns to grade its own answers without a reference (Ye & Ng 2024, arXiv 2409.00935).

Each item is asked in two forms (``inference.judge_request``): the teacher form shows a reference answer, the student
form does not. Both have the same digit as their target. As in the authors' code (github.com/nusnlp/Self-J), an item's
loss is

    CE(teacher) + 0.3 CE(student) + 2 KL(p_teacher || p_student)

where the teacher's distribution is detached: the student moves to the teacher, not the other way round. All three are
of the digit, over the whole vocabulary; the stop token is left out. Both forms are one unit, so they are in one
micro-batch.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from response_tuning.conversation import EncodedExample
from response_tuning.example import Example
from response_tuning.inference.judge_request import GRADES, judge_request
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.support.errors import UserError
from response_tuning.support.progress import say
from response_tuning.support.records import preview
from response_tuning.training.batches.batching import MicroBatch, Unit, shuffled_batches
from response_tuning.training.objectives.contract import DataSets
from response_tuning.training.objectives.preference.reference import row_pairs
from response_tuning.training.training_config import TrainingConfig

__all__ = ["SelfJudge", "judge_forms"]

_LOGGED = ("teacher_loss", "student_loss", "divergence", "student_error")


def judge_forms(examples: Sequence[Example], *, source: str) -> list[Example]:
    """Two examples for each row: the teacher form with the grade as its completion, then the student form.

    Raises:
        UserError: a row lacks the prompt, the answer or its grade, as ``rt data judge-set`` writes them.
    """
    forms = []
    for number, example in enumerate(examples, start=1):
        try:
            answer, grade = _answer(example), _grade(example)
        except ValueError as error:
            raise UserError(
                f"{source}: row {number} {error}. A judge is trained on rows of a 'prompt', a 'completion' (the "
                "reference), an 'answer' and its 'grade', as rt data judge-set makes them."
            ) from None
        instruction = example.prompt or ""
        for reference in (example.completion, None):
            request = judge_request(instruction, answer, reference=reference)
            forms.append(Example(prompt=request, completion=str(grade)))
    return forms


def _answer(example: Example) -> str:
    value = (example.model_extra or {}).get("answer")
    if not (example.prompt or "").strip():
        raise ValueError("has no prompt")
    if not isinstance(value, str):
        raise ValueError("has no text in the field 'answer'")
    return value


def _grade(example: Example) -> int:
    value = (example.model_extra or {}).get("grade")
    if isinstance(value, bool) or not isinstance(value, int) or value not in GRADES:
        raise ValueError(f"has a field 'grade' that is not a digit from 0 to 9 but {preview(value)}")
    return value


class SelfJudge:
    """Grades with a reference in view, and the same grades without one.

    Beside the loss of an item the log has its three parts, and how far the student's expected grade is from the target
    (``student_error``, in grades).
    """

    def __init__(self, config: TrainingConfig) -> None:
        options = config.self_judge
        self._student_weight = options.judge_student_weight
        self._divergence_weight = options.judge_divergence_weight
        self._grades: tuple[list[int], list[int]] = ([], [])
        self._items: list[Unit] = []
        self._digits: dict[int, int] = {}
        """The token of each grade that occurs."""

    @property
    def weights(self) -> Mapping[str, float]:
        """See ``Objective``. The parts of the loss are logged beside it."""
        return {"loss": 1.0, **dict.fromkeys(_LOGGED, 0.0)}

    @property
    def preparation(self) -> "SelfJudge":
        """The objective itself: it makes two forms of each row."""
        return self

    reads_verdicts = True
    """See ``Preparation``. A bad answer teaches the judge as much as a good one."""

    @property
    def statistic(self) -> None:
        """See ``Preparation``. None."""

    def rows(self, examples: Sequence[Example], source: str) -> list[Example]:
        """See ``Preparation``. Both forms of each row."""
        return judge_forms(examples, source=source)

    def require(self, data_fingerprint: str) -> None:
        """See ``Preparation``. Nothing but the rows."""

    def prepare(self, examples: DataSets, accelerator: Accelerator) -> None:  # noqa: ARG002
        """See ``Preparation``. The grades of the items to train on and of those held out."""
        self._grades = (_grades_of(examples.train), _grades_of(examples.held_out))

    def write(self, run: Path) -> None:
        """See ``Preparation``. Nothing."""

    def arrange(self, encoded: Sequence[EncodedExample], dropped: Sequence[int]) -> list[EncodedExample]:
        """The forms of items of which neither is dropped, nor has its grade cut off."""
        self._items = _units(encoded, dropped, self._grades[0])
        if not self._items:
            raise UserError("No item fits into --max-length with its grade. Raise it.")
        self._digits = {_grade_of(unit): unit.examples[0].input_ids[-2] for unit in self._items}
        say(f"{len(self._items)} items to grade, of {len(self._digits)} different grades")
        return [example for unit in self._items for example in unit.examples]

    def measured(self, held_out: Sequence[EncodedExample], dropped: Sequence[int]) -> list[Unit]:
        """See ``Preparation``. The held-out items."""
        return _units(held_out, dropped, self._grades[1])

    def batches(self, examples: Sequence[EncodedExample], *, batch_size: int, seed: int) -> list[list[Unit]]:  # noqa: ARG002
        """See ``Objective``. ``batch_size`` is a number of items."""
        return shuffled_batches(self._items, batch_size=batch_size, seed=seed, length=lambda unit: unit.tokens)

    def count(self, unit: Unit) -> dict[str, int]:  # noqa: ARG002
        """See ``Objective``. Every loss is one number an item."""
        return {"loss": 1, **dict.fromkeys(_LOGGED, 1)}

    def losses(self, loss_of: ResponseLoss, micro_batch: MicroBatch) -> dict[str, Tensor]:
        """See ``Objective``. Of each item [items]."""
        batch, count = micro_batch.batch, len(micro_batch.units)
        is_digit = batch.rows == batch.rows.roll(-1)
        is_digit[-1] = False  # the last token of a row is its stop token
        teacher, student = (is_digit & (batch.rows % 2 == form) for form in (0, 1))
        hidden = loss_of.hidden_states(batch)
        of_teacher, of_student = (loss_of.log_probabilities(hidden[form]) for form in (teacher, student))
        targets, items = batch.targets[teacher], batch.rows[teacher] // 2
        fixed = of_teacher.detach()
        parts = {
            "teacher_loss": -of_teacher.gather(1, targets[:, None])[:, 0],
            "student_loss": -of_student.gather(1, targets[:, None])[:, 0],
            "divergence": (fixed.exp() * (fixed - of_student)).sum(dim=1),
        }
        sums = {name: _by_item(values, items, count) for name, values in parts.items()}
        loss = (
            sums["teacher_loss"]
            + self._student_weight * sums["student_loss"]
            + self._divergence_weight * sums["divergence"]
        )
        logged = {name: values.detach() for name, values in sums.items()}
        return {"loss": loss, **logged, "student_error": self._errors(of_student.detach(), items, micro_batch.units)}

    def _errors(self, of_student: Tensor, items: Tensor, units: Sequence[Unit]) -> Tensor:
        """How far the expected grade of each item [items] is from its target, in grades."""
        last = torch.ones_like(items, dtype=torch.bool)
        last[:-1] = items[1:] != items[:-1]
        device = of_student.device
        grades = torch.tensor(sorted(self._digits), device=device)
        digits = torch.tensor([self._digits[grade] for grade in sorted(self._digits)], device=device)
        shares = of_student[last][:, digits].softmax(dim=1)
        targets = torch.tensor([float(_grade_of(unit)) for unit in units], device=device)
        return ((shares * grades).sum(dim=1) - targets).abs()

    def most_positions(self, supervised: int) -> int:
        """See ``Preparation``. No more than supervised tokens."""
        return supervised


def _by_item(values: Tensor, items: Tensor, count: int) -> Tensor:
    return torch.zeros(count, device=values.device).index_add(0, items, values)


def _grades_of(forms: Sequence[Example]) -> list[int]:
    return [int(form.completion) for form in forms[::2]]


def _grade_of(unit: Unit) -> int:
    assert isinstance(unit.note, int)
    return unit.note


def _units(encoded: Sequence[EncodedExample], dropped: Sequence[int], grades: Sequence[int]) -> list[Unit]:
    """A unit of each item that is whole: teacher form, then student form, noting the grade."""
    pairs = row_pairs(encoded, dropped, [0.0] * (2 * len(grades)))
    return [
        Unit(pair.examples, note=grade)
        for pair, grade in zip(pairs, grades, strict=True)
        if pair and not any(each.truncated for each in pair.examples)
    ]
