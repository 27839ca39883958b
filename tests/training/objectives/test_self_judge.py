"""Self-J: its loss against the formula on whole logits, trainings from end to end, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.training.conftest import interrupt_after
from torch.nn.functional import kl_div, log_softmax

from response_tuning.example import Example, write_examples
from response_tuning.inference.judge_request import GRADES, judge_request
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.runs.judge import load_judge
from response_tuning.runs.load import load_with_conversation
from response_tuning.support.configuration import changed
from response_tuning.support.errors import UserError
from response_tuning.training.batches.batching import Unit
from response_tuning.training.batches.packing import split
from response_tuning.training.objectives.self_judge import SelfJudge, judge_forms
from response_tuning.training.planning.plan import make_plan
from response_tuning.training.trainer import train
from response_tuning.training.training_config import TrainingConfig


@pytest.fixture(scope="module")
def items(examples: list[Example]) -> list[Example]:
    """Answers that are good where they are a beginning of the reference, and bad where they are something else."""
    return [
        Example.model_validate(
            {
                "prompt": one.prompt,
                "completion": one.completion[:80],
                "answer": one.completion[:40] if index % 2 else "?" * (3 + index),
                "grade": 8 if index % 2 else 1,
            }
        )
        for index, one in enumerate(examples[:10])
    ]


@pytest.fixture
def config(tmp_path: Path, model_folder: Path, items: list[Example]) -> TrainingConfig:
    write_examples(tmp_path / "items.jsonl", items[:8])
    write_examples(tmp_path / "held_out.jsonl", items[8:])
    return TrainingConfig(
        output=tmp_path / "judge",
        model=str(model_folder),
        data=str(tmp_path / "items.jsonl"),
        held_out=str(tmp_path / "held_out.jsonl"),
        objective="self-judge",
        method="it",
        dtype="float32",
        device="cpu",
        epochs=2,
        batch_size=3,
        lora_rank=4,
        learning_rate=1e-2,
        micro_batch_tokens=600,
        keep="last",
    )


def log_of(config: TrainingConfig) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (config.output / "training.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def weights_of(config: TrainingConfig) -> dict[str, torch.Tensor]:
    return load_file(config.output / "adapter" / "adapter_model.safetensors")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("format_name", ["tulu", "question-answer"])
def test_loss_and_gradient_are_those_of_the_formula(
    config: TrainingConfig, items: list[Example], packed: bool, format_name: Any
) -> None:
    loaded, conversation = load_with_conversation(config.model, format_name, dtype="float32", device="cpu")
    embedding = next(loaded.model.parameters()).requires_grad_()
    encoded = [conversation.encode(form, "it") for form in judge_forms(items[:4], source="")]
    grades = [1, 8, 1, 8]
    units = [Unit((encoded[2 * item], encoded[2 * item + 1]), note=grade) for item, grade in enumerate(grades)]
    objective = SelfJudge(config)
    objective._grades = (grades, [])
    objective.arrange(encoded, [])
    (micro_batch,) = split(units, tokens=100_000, packed=packed)
    losses = objective.losses(ResponseLoss(loaded.model), micro_batch)
    (ours,) = torch.autograd.grad(losses["loss"].sum(), embedding)

    expected, errors = [], []
    for unit in micro_batch.units:
        of_forms = []
        for example in unit.examples:
            logits = loaded.model(torch.tensor([example.input_ids])).logits[0]
            # Every supervised token but the stop token.
            of_forms.append(log_softmax(logits[example.prompt_length - 1 : -2], dim=-1))
        teacher, student = of_forms
        targets = torch.tensor(unit.examples[0].input_ids[unit.examples[0].prompt_length : -1])
        own, others = (-log.gather(1, targets[:, None]).sum() for log in (teacher, student))
        divergence = kl_div(student, teacher.detach(), log_target=True, reduction="sum")
        expected.append(own + 0.3 * others + 2 * divergence)
        digits = torch.tensor([conversation.response_ids(str(grade))[-2] for grade in (1, 8)])
        shares = student[-1, digits].softmax(dim=0)
        assert isinstance(unit.note, int)
        errors.append(abs(float((shares[0] * 1 + shares[1] * 8).detach()) - unit.note))
    torch.testing.assert_close(losses["loss"], torch.stack(expected), rtol=1e-5, atol=1e-5)
    assert losses["student_error"].tolist() == pytest.approx(errors, rel=1e-4)
    (theirs,) = torch.autograd.grad(torch.stack(expected).sum(), embedding)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_judge_learns_to_grade_without_the_reference(config: TrainingConfig, items: list[Example]) -> None:
    config = changed(config, epochs=12)
    train(config)
    log = log_of(config)
    for row in log:
        whole = row["teacher_loss"] + 0.3 * row["student_loss"] + 2 * row["divergence"]
        assert row["loss"] == pytest.approx(whole, rel=1e-4)
    assert log[-1]["student_error"] < 1.5 < log[0]["student_error"]
    assert {"held_out_loss", "held_out_student_error"} <= log[-1].keys()
    judge = load_judge(config.output, dtype="float32", device="cpu")
    scores = judge.scores([(item.prompt or "", (item.model_extra or {})["answer"]) for item in items])
    assert all(0 <= score <= 9 for score in scores)
    assert min(scores[1::2]) > max(scores[::2])
    # The score is the mean of the ten digits under the model's own probabilities.
    prompt = judge.responder.conversation.prompt_ids(
        judge_request(items[0].prompt or "", (items[0].model_extra or {})["answer"])
    )
    digits = [judge.responder.conversation.response_ids(str(grade))[0] for grade in GRADES]
    with torch.no_grad():
        shares = judge.responder.loaded.model(torch.tensor([prompt])).logits[0, -1, digits].softmax(dim=0)
    assert scores[0] == pytest.approx(float((shares * torch.tensor(GRADES)).sum()), rel=1e-4)


def test_packed_padded_and_interrupted_trainings_are_the_same(
    config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(config)
    padded = changed(config, packing="off", output=tmp_path / "padded", micro_batch_tokens=100_000)
    train(padded)
    for row, other in zip(log_of(config), log_of(padded), strict=True):
        assert row == pytest.approx(other, rel=1e-3, abs=1e-3)
    again = changed(config, output=tmp_path / "again", checkpoint_every_seconds=0)
    with monkeypatch.context() as patched:
        interrupt_after(2, patched)
        with pytest.raises(KeyboardInterrupt):
            train(again)
    train(again)
    assert all(torch.equal(weights_of(config)[name], weight) for name, weight in weights_of(again).items())
    assert log_of(again) == log_of(config)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_two_processes_judge_what_one_does(config: TrainingConfig) -> None:
    train(config)
    together = changed(config, output=config.output.with_name("together"), processes=2)
    train(together)
    for row, other in zip(log_of(config), log_of(together), strict=True):
        assert row == pytest.approx(other, rel=1e-3, abs=1e-4)


def test_the_teacher_form_differs_from_the_students_in_the_reference_alone(items: list[Example]) -> None:
    teacher, student = judge_forms(items[1:2], source="")
    assert (teacher.completion, student.completion) == ("8", "8")
    assert items[1].completion.strip() in (teacher.prompt or "")
    assert items[1].completion.strip() not in (student.prompt or "")
    assert judge_request("Say {{ x }}.", "{% y %}").count("{{ x }}") == 1


def test_items_that_are_too_long_are_left_out_whole(config: TrainingConfig, items: list[Example]) -> None:
    long = items[0].model_copy(update={"completion": "word " * 200})
    write_examples(Path(config.data), [long, *items[:4]])
    shorter = changed(config, max_length=500, overlong="drop", batch_size=2, epochs=1, held_out="")
    train(shorter)
    assert len(log_of(shorter)) == 2
    assert json.loads((shorter.output / "data.json").read_text())["rows_dropped_overlong"] == [1]


def test_a_plan_counts_items(config: TrainingConfig) -> None:
    assert make_plan(changed(config, held_out=""), seconds=0.1).tokens.steps == 3


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"grade": 3}, "row 1 has no text in the field 'answer'"),
        ({"answer": "x"}, "row 1 has a field 'grade' that is not a digit from 0 to 9 but"),
        ({"answer": "x", "grade": 10}, "but 10"),
        ({"answer": "x", "grade": True}, "not a digit"),
        ({"answer": "x", "grade": 3, "prompt": " "}, "row 1 has no prompt"),
    ],
)
def test_rows_that_cannot_be_judged_are_named(extra: dict[str, object], message: str) -> None:
    row = Example.model_validate({"prompt": "Why?", "completion": "Because.", **extra})
    with pytest.raises(UserError, match=message):
        judge_forms([row], source="items.jsonl")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"method": "rt"}, "needs --method it"), ({"label_smoothing": 0.1}, "--label-smoothing is not for")],
)
def test_options_that_contradict_each_other_are_refused(
    config: TrainingConfig, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        changed(config, **options)


def test_a_run_that_is_no_judge_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished run"):
        load_judge(tmp_path / "nothing")
    (tmp_path / "run" / "adapter").mkdir(parents=True)
    (tmp_path / "run" / "config.yaml").write_text("method: rt\nobjective: auto\n")
    with pytest.raises(UserError, match="was trained with --objective auto"):
        load_judge(tmp_path / "run")
