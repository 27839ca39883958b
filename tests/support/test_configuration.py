"""YAML configurations: round trip, and errors that name file, line and option."""

from pathlib import Path

import pytest
import yaml

from response_tuning.support.configuration import changed, differences, flatten, read_values, write_config
from response_tuning.support.errors import UserError
from response_tuning.training.training_config import BatchOptions, MemoryOptions, TrainingConfig


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
    other = changed(config, seed=4, output=tmp_path / "other")
    assert differences(tmp_path / "config.yaml", other, ignore=frozenset({"output"})) == ["seed: 0 there, 4 now"]


def test_an_option_that_an_older_version_did_not_know_counts_as_its_default(tmp_path: Path) -> None:
    config = TrainingConfig(output=tmp_path / "run")
    path = tmp_path / "config.yaml"
    write_config(path, config)
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("tuning:")))
    assert differences(path, config) == []
    assert differences(path, changed(config, tuning="full")) == ["tuning: 'lora' there, 'full' now"]


def test_options_are_given_by_name_or_in_their_group_and_the_name_comes_first() -> None:
    by_name = TrainingConfig(output=Path("run"), lora_rank=4, epochs=2)
    in_groups = TrainingConfig(output=Path("run"), adapter={"lora_rank": 4}, batches=BatchOptions(epochs=2))
    assert by_name == in_groups
    assert TrainingConfig(output=Path("run"), batches=BatchOptions(epochs=7), epochs=2).batches.epochs == 2
    assert TrainingConfig(**flatten(by_name)) == by_name


def test_an_unknown_option_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match="there is no option 'lora_rnk'; did you mean 'lora_rank'"):
        TrainingConfig(output=Path("run"), lora_rnk=4)


def test_changed_options_are_validated_and_keep_what_is_never_written(tmp_path: Path) -> None:
    config = TrainingConfig(output=tmp_path, plan=True, seed=3)
    other = changed(config, epochs=5)
    assert (other.plan, other.seed, other.batches.epochs) == (True, 3, 5)
    with pytest.raises(UserError, match="greater than or equal to 1"):
        changed(config, epochs=0)


def test_what_is_wrong_is_explained_by_the_options_own_name() -> None:
    with pytest.raises(UserError) as caught:
        TrainingConfig(output=Path("run"), epochs=0)
    assert str(caught.value) == "--epochs is 0: it should be greater than or equal to 1."
    with pytest.raises(UserError) as caught:
        TrainingConfig(output=Path("run"), patience=2)
    assert str(caught.value).startswith("--patience and --held-out-every need --held-out")


@pytest.mark.parametrize("value", [None, 3, MemoryOptions()])
def test_a_group_takes_its_own_options_alone(value: object) -> None:
    with pytest.raises(UserError, match="adapter should be AdapterOptions or a mapping of its options"):
        TrainingConfig(output=Path("run"), adapter=value)


def test_a_run_of_an_earlier_version_is_read_with_todays_words(tmp_path: Path) -> None:
    """DeepSpeed's engine sharded and offloaded before; the same options mean PyTorch's own now."""
    path = tmp_path / "config.yaml"
    path.write_text("output: runs/old\nsharding: deepspeed-zero3\noffload: optimizer\n")
    config = TrainingConfig(**read_values(path, TrainingConfig))
    assert (config.parallel.sharding, config.parallel.offload) == ("zero3", "cpu")


@pytest.mark.parametrize("text", ["", "- 1\n", "just words\n"])
def test_a_written_configuration_without_options_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match="should hold one 'option: value' a line"):
        differences(path, TrainingConfig(output=tmp_path))


def test_a_file_of_before_there_were_groups_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    write_config(path, config := TrainingConfig(output=tmp_path / "run", lora_rank=4))
    written = yaml.safe_load(path.read_text())
    assert not any(isinstance(value, dict) for value in written.values())
    assert TrainingConfig(**read_values(path, TrainingConfig)) == config
