"""Preference tuning: losses and gradients against their formulas on whole logits, and trainings from end to end."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.training.conftest import interrupt_after
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid

from response_tuning.data.preferences import mismatched, paired
from response_tuning.example import Example, write_examples
from response_tuning.inference.responder import Responder
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.inference.score import log_likelihoods
from response_tuning.runs.load import load_with_conversation
from response_tuning.support.configuration import changed
from response_tuning.support.errors import UserError
from response_tuning.support.options import PreferenceLoss
from response_tuning.training.batches.batching import Unit
from response_tuning.training.batches.packing import split
from response_tuning.training.objectives.preference import reference
from response_tuning.training.objectives.preference.losses import LOSSES
from response_tuning.training.objectives.preference.objective import Preference
from response_tuning.training.planning.plan import make_plan
from response_tuning.training.trainer import train
from response_tuning.training.training_config import TrainingConfig


@pytest.fixture(scope="module")
def pairs(examples: list[Example]) -> list[Example]:
    """Real responses that are preferred to the beginning of another one."""
    return [
        Example.model_validate(
            {"prompt": one.prompt, "completion": one.completion, "rejected": other.completion[:60].strip()}
        )
        for one, other in zip(examples[:7], examples[7:14], strict=True)
    ]


@pytest.fixture
def config(tmp_path: Path, model_folder: Path, pairs: list[Example], monkeypatch: pytest.MonkeyPatch) -> TrainingConfig:
    """Four fp32 steps of DPO on five pairs; two are held out."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_examples(tmp_path / "pairs.jsonl", pairs[:5])
    write_examples(tmp_path / "held_out.jsonl", pairs[5:])
    return TrainingConfig(
        output=tmp_path / "run",
        model=str(model_folder),
        data=str(tmp_path / "pairs.jsonl"),
        held_out=str(tmp_path / "held_out.jsonl"),
        preference_loss="dpo",
        method="it",
        dtype="float32",
        device="cpu",
        epochs=2,
        batch_size=3,
        lora_rank=3,
        learning_rate=1e-2,
        schedule="constant",
        warmup_share=0,
        micro_batch_tokens=200,
    )


def log_of(config: TrainingConfig) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (config.output / "training.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def weights_of(config: TrainingConfig) -> dict[str, Tensor]:
    return load_file(config.output / "adapter" / "adapter_model.safetensors")


def by_formula(name: str, chosen: Tensor, rejected: Tensor, sizes: tuple[int, int], beta: float) -> Tensor:
    """A pair's loss by its paper; the reference gives every token of both responses a likelihood of 1/e."""
    one, other = sizes
    gained = (chosen + one, rejected + other)
    if name == "dpo":
        return -logsigmoid(beta * (gained[0] - gained[1]))
    if name == "dpo-norm":
        return -logsigmoid(beta * (gained[0] / one - gained[1] / other))
    if name == "ipo":
        return (gained[0] / one - gained[1] / other - 1 / (2 * beta)) ** 2
    if name == "simpo":
        return -logsigmoid(beta * (chosen / one - rejected / other) - 1.0)
    odds = [torch.log(mean.exp() / (1 - mean.exp())) for mean in (chosen / one, rejected / other)]
    return -beta * logsigmoid(odds[0] - odds[1])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", list(LOSSES))
def test_losses_and_gradients_are_those_of_the_formulas(
    config: TrainingConfig, pairs: list[Example], name: PreferenceLoss, packed: bool
) -> None:
    loaded, conversation = load_with_conversation(config.model, "tulu", dtype="float32", device="cpu")
    embedding = next(loaded.model.parameters()).requires_grad_()
    encoded = [conversation.encode(example, "it") for example in paired(pairs[:3], source="")]
    units = [
        Unit((one, other), note=(-float(one.supervised_count), -float(other.supervised_count)))
        for one, other in zip(encoded[::2], encoded[1::2], strict=True)
    ]
    objective = Preference(changed(config, preference_loss=name))
    (micro_batch,) = split(units, tokens=100_000, packed=packed)
    losses = objective.losses(ResponseLoss(loaded.model), micro_batch)
    (ours,) = torch.autograd.grad(losses["loss"].sum(), embedding)

    expected = []
    for unit in micro_batch.units:
        likelihoods = []
        for example in unit.examples:
            ids = torch.tensor([example.input_ids])
            of_tokens = log_softmax(loaded.model(ids).logits[0, :-1], dim=-1)
            own = of_tokens.gather(1, ids[0, 1:, None])[example.prompt_length - 1 :, 0]
            likelihoods.append(own.sum())
        sizes = (unit.examples[0].supervised_count, unit.examples[1].supervised_count)
        expected.append(by_formula(name, likelihoods[0], likelihoods[1], sizes, LOSSES[name].beta))
    torch.testing.assert_close(losses["loss"], torch.stack(expected), rtol=1e-5, atol=1e-5)
    (theirs,) = torch.autograd.grad(torch.stack(expected).sum(), embedding)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["rt", "it"])
def test_chosen_responses_become_likelier_than_rejected_ones(config: TrainingConfig, method: str) -> None:
    config = changed(config, method=method, epochs=6)
    train(config)
    log = log_of(config)
    # Before the first update the model is its own reference.
    assert log[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert log[0]["margin"] == pytest.approx(0, abs=1e-4)
    assert log[-1]["loss"] < 0.5
    assert log[-1]["accuracy"] == 1
    measured = [row for row in log if "held_out_loss" in row]
    assert len(measured) == 6
    low, high = measured[-1]["held_out_accuracy_interval"]
    assert 0 <= low < measured[-1]["held_out_accuracy"] + 1e-9 <= high + 1e-9 <= 1 + 1e-9
    assert {"held_out_accuracy", "held_out_margin", "held_out_rejected_log_likelihood"} <= measured[0].keys()


def test_response_only_preferences_need_no_prompt(config: TrainingConfig, pairs: list[Example], tmp_path: Path) -> None:
    with_prompts = changed(config, method="rt")
    train(with_prompts)
    bare = [Example.model_validate(pair.model_dump(exclude={"prompt"}, exclude_unset=True)) for pair in pairs]
    write_examples(tmp_path / "bare.jsonl", bare[:5])
    without = changed(with_prompts, data=str(tmp_path / "bare.jsonl"), output=tmp_path / "bare")
    train(without)
    assert log_of(without) == log_of(with_prompts)
    with pytest.raises(UserError, match="rows have no prompt"):
        train(changed(without, method="it", output=tmp_path / "paired"))


def test_packed_padded_and_interrupted_trainings_are_the_same(
    config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(config)
    padded = changed(config, packing="off", output=tmp_path / "padded", micro_batch_tokens=100_000)
    train(padded)
    for row, other in zip(log_of(config), log_of(padded), strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert row["margin"] == pytest.approx(other["margin"], rel=1e-3, abs=1e-4)
    again = changed(config, output=tmp_path / "again", checkpoint_every_seconds=0)
    with monkeypatch.context() as patched:
        interrupt_after(2, patched)
        with pytest.raises(KeyboardInterrupt):
            train(again)
    # The reference is not computed again, not even where the cache is gone.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.setattr(reference, "load_base", None)
    train(again)
    assert all(torch.equal(weights_of(config)[name], weight) for name, weight in weights_of(again).items())
    assert log_of(again) == log_of(config)


def test_the_reference_is_computed_once_for_a_model_and_its_data(
    config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(config)
    with monkeypatch.context() as patched:
        patched.setattr(reference, "load_base", None)
        train(changed(config, output=tmp_path / "other", preference_loss="ipo", seed=1))
    with pytest.raises(TypeError):  # other responses: it has to be computed
        monkeypatch.setattr(reference, "load_base", None)
        train(changed(config, output=tmp_path / "rt", method="rt"))


def test_a_run_is_its_own_reference(config: TrainingConfig, tmp_path: Path) -> None:
    """Supervised tuning on chosen responses, then preferences: the reference is the run, and not its base."""
    first = changed(config, preference_loss="none", output=tmp_path / "sft")
    train(first)
    second = changed(config, model=str(first.output), output=tmp_path / "preferred")
    train(second)
    assert log_of(second)[0]["margin"] == pytest.approx(0, abs=1e-4)
    assert log_of(second)[0]["chosen_log_likelihood"] > log_of(first)[0]["loss"] * -1000


def test_kto_is_its_formula_however_a_step_is_split(config: TrainingConfig, pairs: list[Example]) -> None:
    rows = [
        Example.model_validate({"prompt": pair.prompt, "completion": pair.completion, "desirable": index % 2 == 0})
        for index, pair in enumerate(pairs[:5])
    ]
    write_examples(Path(config.data), rows)
    config = changed(config, preference_loss="kto", held_out="", batch_size=5, epochs=4)
    train(config)
    split_up = changed(config, output=config.output.with_name("split"), packing="off", micro_batch_tokens=1)
    train(split_up)
    log = log_of(config)
    assert log[0]["loss"] == pytest.approx(0.5, abs=1e-5)  # the model is the reference, and has not moved
    assert log[0]["divergence"] == pytest.approx(0, abs=1e-4)
    assert log[-1]["divergence"] > 0
    assert log[-1]["loss"] < 0.4
    assert log[-1]["desirable_gain"] > 0 > log[-1]["undesirable_gain"]
    for row, other in zip(log, log_of(split_up), strict=True):
        for name in ("loss", "divergence", "desirable_gain", "undesirable_gain"):
            assert row[name] == pytest.approx(other[name], rel=1e-3, abs=1e-3)

    # A step's loss from scratch: the second step's, at the weights after the first.
    first = changed(config, output=config.output.with_name("first"), epochs=1, model=config.model)
    train(first)
    tuned, conversation = load_with_conversation(str(first.output), "auto", dtype="float32", device="cpu")
    base, _ = load_with_conversation(config.model, "auto", dtype="float32", device="cpu")
    encoded = [conversation.encode(example, "it") for example in mismatched(rows, source="")]
    now, before = (log_likelihoods(Responder(loaded, conversation), encoded) for loaded in (tuned, base))
    gains = torch.tensor(now) - torch.tensor(before)
    own, z = gains[::2], gains[1::2].mean().clamp(min=0)
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0])
    assert log[1]["divergence"] == pytest.approx(float(z), rel=1e-3, abs=1e-4)
    assert log[1]["loss"] == pytest.approx(float((1 - torch.sigmoid(0.1 * signs * (own - z))).mean()), rel=1e-3)


def test_changed_verdicts_are_other_data(config: TrainingConfig, pairs: list[Example]) -> None:
    rows = [pair.model_copy(update={"desirable": index % 2 == 0}) for index, pair in enumerate(pairs[:4])]
    write_examples(Path(config.data), rows)
    config = changed(config, preference_loss="kto", held_out="", epochs=1)
    train(config)
    write_examples(
        Path(config.data), [row.model_copy(update={"desirable": index % 2 == 1}) for index, row in enumerate(rows)]
    )
    with pytest.raises(UserError, match="is trained already, on other data"):
        train(config)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{}], "row 1 has no field 'desirable'"),
        ([{"desirable": 1}], "row 1 has a field 'desirable' that is not true or false but 1"),
        ([{"desirable": True}, {"desirable": True}], "every response is desirable"),
    ],
)
def test_rows_that_do_not_say_what_is_desirable_are_named(rows: list[dict[str, object]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        mismatched([Example.model_validate({"completion": "Because.", **row}) for row in rows], source="votes.jsonl")


@pytest.mark.parametrize("loss", ["dpo", "kto"])
def test_a_plan_counts_steps_by_rows(config: TrainingConfig, pairs: list[Example], loss: str) -> None:
    rows = pairs
    if loss == "kto":
        verdicts = [{"desirable": index % 2 == 0} for index in range(len(pairs))]
        rows = [pair.model_copy(update=verdict) for pair, verdict in zip(pairs, verdicts, strict=True)]
    write_examples(Path(config.data), rows[:5])
    plan = make_plan(changed(config, preference_loss=loss, held_out=""), seconds=0.1)
    assert plan.tokens.steps == 2


def test_pairs_of_which_one_is_too_long_are_dropped(config: TrainingConfig, pairs: list[Example]) -> None:
    long = Example.model_validate({"prompt": "Why?", "completion": "Yes.", "rejected": "no " * 400})
    write_examples(Path(config.data), [long, *pairs[:4]])
    config = changed(config, max_length=300, overlong="drop", batch_size=2, epochs=1)
    train(config)
    assert len(log_of(config)) == 2
    assert json.loads((config.output / "data.json").read_text())["rows_dropped_overlong"] == [2]


@pytest.mark.parametrize(
    ("rejected", "text"),
    [
        ("A text.", "A text."),
        ({"role": "assistant", "content": "A message."}, "A message."),
        ({"from": "gpt", "value": "ShareGPT."}, "ShareGPT."),
        ([{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "TRL."}], "TRL."),
        ("\n\nHuman: Why?\n\nAssistant: So.\n\nHuman: Eh?\n\nAssistant: HH-RLHF.", "HH-RLHF."),
    ],
)
def test_public_shapes_of_rejected_responses_are_read(rejected: object, text: str) -> None:
    row = Example.model_validate({"prompt": "Why?", "completion": "Because.", "rejected": rejected})
    assert [example.completion for example in paired([row], source="pairs.jsonl")] == ["Because.", text]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({}, "pairs.jsonl: row 1 has no field 'rejected'"),
        ({"rejected": " "}, "row 1 has an empty field 'rejected'"),
        ({"rejected": "Because."}, "row 1 has the same text in 'completion' and 'rejected'"),
        ({"rejected": 3}, "row 1 has a field 'rejected' that is no response but a number: 3"),
    ],
)
def test_rows_that_are_no_pair_are_named(extra: dict[str, object], message: str) -> None:
    row = Example.model_validate({"prompt": "Why?", "completion": "Because.", **extra})
    with pytest.raises(UserError, match=message):
        paired([row], source="pairs.jsonl")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preference_loss": "none", "objective": "preference"}, "needs --preference-loss"),
        ({"objective": "supervised"}, "this is supervised"),
        ({"label_smoothing": 0.1}, "--label-smoothing is not for --preference-loss"),
        ({"sftmix_from": "runs/x", "batch_size": 2}, "two objectives"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    config: TrainingConfig, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        changed(config, **options)
