"""YAML configurations: round trip, and errors that name file, line and option."""

from pathlib import Path

import pytest

from response_tuning.support.configuration import differences, read_values, write_config
from response_tuning.support.errors import UserError
from response_tuning.training.training_config import TrainingConfig


def test_a_written_configuration_is_read_back_equal(tmp_path: Path) -> None:
    config = TrainingConfig(output=tmp_path / "run", learning_rate=1e-5, epochs=7)
    write_config(tmp_path / "config.yaml", config)
    assert TrainingConfig(**read_values(tmp_path / "config.yaml", TrainingConfig)) == config


def test_values_are_converted_to_their_types(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("learning_rate: 1e-4\noutput: runs/x\n")  # YAML 1.1 reads 1e-4 as a string
    assert read_values(path, TrainingConfig) == {"learning_rate": 1e-4, "output": Path("runs/x")}


def test_all_wrong_options_are_named_by_line_with_the_nearest_name(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("epochs: 2\nlearning_rat: 1\nbatch_size: many\n")
    with pytest.raises(UserError) as caught:
        read_values(path, TrainingConfig)
    first, second = str(caught.value).splitlines()
    assert first == f"{path}:2: there is no option 'learning_rat'; did you mean 'learning_rate'?"
    assert second.startswith(f"{path}:3: option 'batch_size' is 'many': ")


def test_a_value_out_of_bounds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("epochs: 0\n")
    with pytest.raises(UserError, match="greater than or equal to 1"):
        read_values(path, TrainingConfig)


@pytest.mark.parametrize("content", ["a: [", "- a\n", ""])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=r"config\.yaml"):
        read_values(path, TrainingConfig)


def test_differences_name_each_field_with_both_values(tmp_path: Path) -> None:
    config = TrainingConfig(output=tmp_path / "run")
    write_config(tmp_path / "config.yaml", config)
    other = config.model_copy(update={"seed": 4, "output": tmp_path / "other"})
    assert differences(tmp_path / "config.yaml", other, ignore=frozenset({"output"})) == ["seed: 0 there, 4 now"]


def test_an_option_that_an_older_version_did_not_know_counts_as_its_default(tmp_path: Path) -> None:
    config = TrainingConfig(output=tmp_path / "run")
    path = tmp_path / "config.yaml"
    write_config(path, config)
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("tuning:")))
    assert differences(path, config) == []
    assert differences(path, config.model_copy(update={"tuning": "full"})) == ["tuning: 'lora' there, 'full' now"]
