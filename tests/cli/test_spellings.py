"""Objectives that are named as methods of ``rt train``."""

from pathlib import Path

import pytest

from response_tuning.cli.options import parse_options
from response_tuning.cli.spellings import training_arguments
from response_tuning.training.training_config import TrainingConfig


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["--method", "self-judge", "--data", "x"], ("self-judge", "it", "none")),
        (["--method=self-judge", "--data=x"], ("self-judge", "it", "none")),
        (["--method", "preference", "--data", "x", "--loss", "ipo"], ("auto", "it", "ipo")),
        (["--method", "preference", "--data", "x", "--rt", "--loss=simpo"], ("auto", "rt", "simpo")),
        (["--method", "preference", "--data", "x"], ("auto", "it", "dpo")),
        (["--method", "preference", "--data", "x", "--preference-loss", "orpo"], ("auto", "it", "orpo")),
        (["--method", "rt", "--data", "x"], ("auto", "rt", "none")),
        (["--data", "x"], ("auto", "rt", "none")),
    ],
)
def test_an_objective_named_as_a_method_is_the_options_it_stands_for(
    typed: list[str], expected: tuple[str, str, str]
) -> None:
    arguments = training_arguments(["--output", "runs/x", *typed])
    config = parse_options(TrainingConfig, "rt train", arguments, None)
    assert isinstance(config, TrainingConfig)
    assert (config.objective, config.method, config.preference.preference_loss) == expected
    assert (config.output, config.data) == (Path("runs/x"), "x")


def test_from_names_the_run_to_start_from() -> None:
    arguments = training_arguments(["--output", "o", "--method", "preference", "--from", "runs/sft"])
    config = parse_options(TrainingConfig, "rt train", arguments, None)
    assert isinstance(config, TrainingConfig)
    assert config.from_run == "runs/sft"


def test_other_arguments_are_left_alone() -> None:
    arguments = ["--output=x", "--method", "it", "--note=a=b"]
    assert training_arguments(arguments) == arguments
