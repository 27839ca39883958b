"""Every preference loss beside TRL's (1.16): the same 32 rows, values to 1e-5 and gradients to 1e-4 in fp32.

TRL's own trainers compute their side, from the token ids of our encoder. Needs the extra ``benchmark``.
"""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from response_tuning.conversation import Conversation, EncodedExample
from response_tuning.data.preferences import is_desirable, mismatched, paired
from response_tuning.example import Example
from response_tuning.inference.batch import collate
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.inference.score import by_example
from response_tuning.models.load import load_model, load_tokenizer
from response_tuning.training.batches.packing import split
from response_tuning.training.objectives.preference.kto import Kto
from response_tuning.training.objectives.preference.objective import make_preference
from response_tuning.training.objectives.preference.reference import row_pairs
from response_tuning.training.training_config import AdapterOptions, TrainingConfig
from response_tuning.training.tuning import add_adapter

trl = pytest.importorskip("trl", reason="TRL, of the extra benchmark, is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]

_ROWS = 32
_PAD = 0


@pytest.fixture(scope="module")
def rows(examples: list[Example]) -> list[Example]:
    """Rows of two real responses, cut so that their lengths differ, of which every third is undesirable."""
    return [
        Example.model_validate(
            {
                "prompt": examples[index % len(examples)].prompt,
                "completion": examples[index % len(examples)].completion[: 40 + 9 * index],
                "rejected": examples[(index + 1) % len(examples)].completion[: 150 - 4 * index],
                "desirable": index % 3 != 0,
            }
        )
        for index in range(_ROWS)
    ]


@pytest.fixture(scope="module")
def conversation(model_folder: Path) -> Conversation:
    return Conversation(load_model(str(model_folder), dtype="float32", device="cpu").tokenizer, "tulu")


@pytest.fixture
def model(model_folder: Path) -> PeftModel:
    """The tiny model with an adapter that has moved away from it: the model without the adapter is the reference."""
    base = load_model(str(model_folder), dtype="float32", device="cpu").model
    torch.manual_seed(1)
    model = add_adapter(base, AdapterOptions(lora_rank=4), fused=False)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return model


def ours(
    model: PeftModel, name: str, encoded: Sequence[EncodedExample], rows: Sequence[Example]
) -> tuple[float, dict[str, Tensor]]:
    """Our loss of the rows as one packed step, without the supervised part, and its gradients by parameter."""
    config = TrainingConfig(output=Path("unused"), preference_loss=name, method="it")
    objective = make_preference(config)
    loss_of = ResponseLoss(model)
    batch = collate(list(encoded))
    with torch.no_grad(), model.disable_adapter():
        reference = (-by_example(loss_of(batch), batch, count=len(encoded))).tolist()
    objective._reference.train = reference
    if isinstance(objective, Kto):
        objective._desirable = ([is_desirable(row) for row in rows], [])
    assert len([pair for pair in row_pairs(encoded, [], reference) if pair]) == _ROWS
    objective.arrange(encoded, [])
    (step,) = objective.batches(encoded, batch_size=_ROWS, seed=3)
    statistic = objective.statistic
    if statistic is not None:
        with torch.no_grad():
            parts = split(statistic.units(step), tokens=500, packed=True)
            statistic.use(float(torch.cat([statistic.values(loss_of, part) for part in parts]).mean()))
    losses = [objective.losses(loss_of, part)["loss"] for part in split(step, tokens=500, packed=True)]
    loss = torch.cat(losses).mean()
    return float(loss), gradients(loss, model)


def gradients(loss: Tensor, model: Any) -> dict[str, Tensor]:
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return dict(zip(trained, torch.autograd.grad(loss, list(trained.values())), strict=True))


def their_trainer(trainer_type: Any, config_type: Any, model: PeftModel, folder: Path, **options: Any) -> Any:
    """A trainer of TRL on the same base, whose new adapter then gets our weights: its reference is the base."""
    from datasets import Dataset

    columns = ("prompt", "completion", "label") if "KTO" in trainer_type.__name__ else ("prompt", "chosen", "rejected")
    # What it is constructed with; its losses are computed on other batches.
    row = {name: f"A {name}." for name in columns}
    rows = [{**row, "label": label} if "label" in row else row for label in (True, False)]
    base = copy.deepcopy(model).unload()
    tokenizer = load_tokenizer(base.config._name_or_path)
    tokenizer.pad_token_id = _PAD
    trainer = trainer_type(
        base,
        args=config_type(str(folder), use_cpu=True, bf16=False, report_to=[], gradient_checkpointing=False, **options),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=model.peft_config["default"],
    )
    assert trainer.model.load_state_dict(model.state_dict(), strict=True)
    trainer.model.eval()
    return trainer


def batch_of_pairs(encoded: Sequence[EncodedExample], trainer: Any) -> Any:
    return trainer.data_collator(
        [
            {
                "prompt_ids": one.input_ids[: one.prompt_length],
                "chosen_ids": one.input_ids[one.prompt_length :],
                "rejected_ids": other.input_ids[other.prompt_length :],
            }
            for one, other in zip(encoded[::2], encoded[1::2], strict=True)
        ]
    )


def former_batch_of_pairs(encoded: Sequence[EncodedExample]) -> dict[str, Tensor]:
    """As the collator of CPO and ORPO makes it."""
    batch: dict[str, Tensor] = {}
    for name, side in (("chosen", encoded[::2]), ("rejected", encoded[1::2])):
        width = max(len(example.input_ids) for example in side)
        padding = [width - len(example.input_ids) for example in side]
        batch |= {
            f"{name}_input_ids": torch.tensor(
                [[*example.input_ids, *[_PAD] * count] for example, count in zip(side, padding, strict=True)]
            ),
            f"{name}_attention_mask": torch.tensor(
                [[1] * len(example.input_ids) + [0] * count for example, count in zip(side, padding, strict=True)]
            ),
            f"{name}_labels": torch.tensor(
                [
                    [-100] * example.prompt_length + example.input_ids[example.prompt_length :] + [-100] * count
                    for example, count in zip(side, padding, strict=True)
                ]
            ),
        }
    return batch


def theirs_dpo(model: PeftModel, name: str, encoded: Sequence[EncodedExample], folder: Path) -> tuple[Tensor, Any]:
    loss = {"dpo": "sigmoid", "dpo-norm": "sigmoid_norm", "ipo": "ipo"}[name]
    trainer = their_trainer(
        trl.DPOTrainer, trl.DPOConfig, model, folder, loss_type=[loss], beta=5.0 if name == "dpo-norm" else 0.1
    )
    return trainer.compute_loss(trainer.model, batch_of_pairs(encoded, trainer)), trainer.model


def theirs_simpo(model: PeftModel, name: str, encoded: Sequence[EncodedExample], folder: Path) -> tuple[Tensor, Any]:
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    trainer = their_trainer(
        CPOTrainer, CPOConfig, model, folder, loss_type=name, cpo_alpha=0.0, beta=2.0, simpo_gamma=1.0
    )
    return trainer.get_batch_loss_metrics(trainer.model, former_batch_of_pairs(encoded))[0], trainer.model


def theirs_orpo(model: PeftModel, _name: str, encoded: Sequence[EncodedExample], folder: Path) -> tuple[Tensor, Any]:
    """The odds-ratio part: theirs adds the cross-entropy of the prompt too, ours that of the response alone."""
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    trainer = their_trainer(ORPOTrainer, ORPOConfig, model, folder, beta=0.1)
    chosen, rejected, *_ = trainer.concatenated_forward(trainer.model, former_batch_of_pairs(encoded))
    return -trainer.odds_ratio_loss(chosen, rejected)[0].mean(), trainer.model


def theirs_kto(
    model: PeftModel, encoded: Sequence[EncodedExample], rows: Sequence[Example], folder: Path
) -> tuple[Tensor, Any]:
    trainer = their_trainer(trl.KTOTrainer, trl.KTOConfig, model, folder, beta=0.1)
    batch = trainer.data_collator(
        [
            {
                "prompt_ids": own.input_ids[: own.prompt_length],
                "completion_ids": own.input_ids[own.prompt_length :],
                "KL_completion_ids": other.input_ids[other.prompt_length :],
                "label": is_desirable(row),
            }
            for own, other, row in zip(encoded[::2], encoded[1::2], rows, strict=True)
        ]
    )
    return trainer.compute_loss(trainer.model, batch), trainer.model


THEIRS: dict[str, Callable[..., tuple[Tensor, Any]]] = {
    "dpo": theirs_dpo,
    "dpo-norm": theirs_dpo,
    "ipo": theirs_dpo,
    "simpo": theirs_simpo,
    "orpo": theirs_orpo,
}


@pytest.mark.parametrize("name", [*THEIRS, "kto"])
def test_losses_and_gradients_are_those_of_trl(
    name: str, model: PeftModel, conversation: Conversation, rows: list[Example], tmp_path: Path
) -> None:
    make = mismatched if name == "kto" else paired
    encoded = [conversation.encode(example, "it") for example in make(rows, source="rows")]
    loss, gradient = ours(model, name, encoded, rows)
    if name == "kto":
        other, other_model = theirs_kto(model, encoded, rows, tmp_path)
    else:
        other, other_model = THEIRS[name](model, name, encoded, tmp_path)
    assert loss == pytest.approx(float(other), rel=1e-5)
    other_gradient = gradients(other, other_model)
    assert gradient.keys() == other_gradient.keys()
    largest = max(float(value.abs().max()) for value in other_gradient.values())
    assert largest > 1e-4  # the rows and the adapter do make gradients
    for parameter, value in gradient.items():
        torch.testing.assert_close(value, other_gradient[parameter], rtol=1e-4, atol=1e-4 * largest)
