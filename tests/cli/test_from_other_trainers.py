"""``rt train --from-axolotl`` and ``--from-llama-factory``: what maps, what does not, and a command that parses."""

import shlex
from pathlib import Path

import pytest

from response_tuning.cli.main import main
from response_tuning.cli.options import parse_options
from response_tuning.support.configuration import flatten
from response_tuning.training.training_config import TrainingConfig

AXOLOTL = """
base_model: NousResearch/Llama-3.2-1B
datasets:
  - path: teknium/GPT4-LLM-Cleaned
    type: alpaca
val_set_size: 0.1
output_dir: ./outputs/lora-out
adapter: lora
peft_use_rslora: true
sequence_len: 2048
sample_packing: true
lora_r: 16
lora_alpha: 32
lora_dropout: 0.05
lora_target_linear: true
gradient_accumulation_steps: 2
micro_batch_size: 4
num_epochs: 1
optimizer: adamw_8bit
lr_scheduler: cosine
learning_rate: 2e-4
bf16: auto
tf32: false
gradient_checkpointing: true
logging_steps: 1
flash_attention: true
warmup_steps: 10
weight_decay: 0.0
special_tokens:
  pad_token: "<|end_of_text|>"
train_on_inputs: true
some_new_setting: 3
"""
LLAMA_FACTORY = """
model_name_or_path: Qwen/Qwen3-0.6B-Base
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: all
dataset: identity,alpaca_en_demo
template: qwen3
cutoff_len: 1024
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
"""


def translated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, option: str
) -> tuple[dict[str, object], str]:
    """The options of the printed command, and all that was printed."""
    path = tmp_path / "theirs.yml"
    path.write_text(text)
    assert main(["train", option, str(path)]) == 0
    printed = capsys.readouterr()
    (line,) = [line for line in printed.out.splitlines() if line.startswith("rt train ")]
    config = parse_options(TrainingConfig, "rt train", shlex.split(line)[2:], None)
    return flatten(config), printed.out + printed.err


def test_an_axolotl_file_becomes_a_command_that_parses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options, printed = translated(tmp_path, capsys, AXOLOTL, "--from-axolotl")
    wanted = {
        "method": "it",
        "model": "NousResearch/Llama-3.2-1B",
        "data": "hub:teknium/GPT4-LLM-Cleaned",
        "max_length": 2048,
        "packing": "on",
        "tuning": "rslora",
        "lora_rank": 16,
        "lora_dropout": 0.05,
        "batch_size": 8,
        "epochs": 1,
        "learning_rate": 2e-4,
        "schedule": "cosine",
        "gradient_checkpointing": True,
    }
    assert {name: options[name] for name in wanted} == wanted
    assert str(options["output"]) == "outputs/lora-out"
    unmapped = printed.partition("what does not")[2]
    for setting in (
        "optimizer",
        "val_set_size",
        "warmup_steps",
        "special_tokens",
        "train_on_inputs",
        "some_new_setting",
    ):
        assert setting in unmapped
    assert "6 settings have no counterpart" in printed
    assert not (tmp_path / "outputs").exists()


def test_a_llama_factory_file_becomes_a_command_that_parses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options, printed = translated(tmp_path, capsys, LLAMA_FACTORY, "--from-llama-factory")
    wanted = {"model": "Qwen/Qwen3-0.6B-Base", "max_length": 1024, "batch_size": 8, "epochs": 3, "warmup_share": 0.1}
    assert {name: options[name] for name in wanted} == wanted
    assert "dataset_info.json" in printed
    assert "qwen3" in printed


def test_without_an_adapter_every_weight_is_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options, _ = translated(tmp_path, capsys, "base_model: a/b\nnum_epochs: 2\n", "--from-axolotl")
    assert options["tuning"] == "full"


@pytest.mark.parametrize(
    ("text", "message"),
    [("- a list", "no mapping"), ("a: [", "cannot be read as YAML"), (None, "cannot be read")],
)
def test_what_is_no_file_of_settings_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, message: str
) -> None:
    path = tmp_path / "theirs.yml"
    if text is not None:
        path.write_text(text)
    assert main(["train", "--from-axolotl", str(path)]) == 2
    assert message in capsys.readouterr().err


def test_other_options_belong_to_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--from-axolotl", "theirs.yml", "--epochs", "3"]) == 2
    assert "takes no other option" in capsys.readouterr().err
