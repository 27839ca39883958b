"""A data set for TRL: the same ids, the same loss, and nothing cut in silence."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from response_tuning import to_trl
from response_tuning.conversation import Conversation, encode_examples
from response_tuning.example import Example, write_examples
from response_tuning.inference.batch import collate
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.support.errors import UserError
from response_tuning.support.options import Method


@pytest.fixture
def tokenizer(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """A copy for each test, since ``to_trl`` gives it a chat template."""
    return copy.deepcopy(tokenizer)


@pytest.mark.parametrize("method", ["rt", "it"])
def test_labels_are_the_response_and_its_stop_token(
    tokenizer: PreTrainedTokenizerBase, examples: list[Example], method: Method
) -> None:
    rows = to_trl(examples[:6], tokenizer, method)
    encoded, _ = encode_examples(
        examples[:6], Conversation(tokenizer, "tulu"), method, max_length=1024, overlong="error"
    )
    assert rows.column_names == ["input_ids", "labels"]
    for row, example in zip(rows, encoded, strict=True):
        assert row["input_ids"] == example.input_ids
        assert row["labels"] == [-100] * example.prompt_length + example.input_ids[example.prompt_length :]
        assert row["labels"][-1] == tokenizer.eos_token_id


def test_specs_examples_dictionaries_and_data_sets_give_the_same_rows(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, examples: list[Example]
) -> None:
    from datasets import Dataset

    path = tmp_path / "rows.jsonl"
    write_examples(path, examples[:4])
    dictionaries = [{"prompt": example.prompt, "completion": example.completion} for example in examples[:4]]
    expected = to_trl(examples[:4], tokenizer, "it").to_list()
    for dataset in (path, str(path), dictionaries, Dataset.from_list(dictionaries)):
        assert to_trl(dataset, tokenizer, "it").to_list() == expected


def test_the_tokenizer_gets_the_template_that_renders_the_trained_prefix(
    tokenizer: PreTrainedTokenizerBase, examples: list[Example]
) -> None:
    row = to_trl(examples[:1], tokenizer, "it", format_name="chatml")[0]
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": examples[0].prompt or ""}], add_generation_prompt=True, return_dict=False
    )
    assert row["input_ids"][: len(prompt)] == prompt
    assert set(row["labels"][: len(prompt)]) == {-100}


def test_a_bad_row_is_named(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(UserError, match="Row 2 of the data set has no field 'completion'"):
        to_trl([{"completion": "Yes."}, {"prompt": "Why?"}], tokenizer, "rt")


def test_instruction_tuning_without_prompts_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(UserError, match="no prompt"):
        to_trl([{"completion": "Yes."}], tokenizer, "it")


def test_too_long_an_example_is_an_error_and_not_cut(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = [{"completion": "word " * 50}, {"completion": "Short."}]
    with pytest.raises(UserError, match="Row 1 takes"):
        to_trl(rows, tokenizer, "rt", max_length=30)
    assert len(to_trl(rows, tokenizer, "rt", max_length=30, overlong="drop")) == 1


def test_importing_the_package_loads_no_model_library() -> None:
    code = "import response_tuning, sys; assert 'to_trl' in response_tuning.__all__; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("method", ["rt", "it"])
def test_trl_computes_the_same_loss_on_it(
    tmp_path: Path,
    tokenizer: PreTrainedTokenizerBase,
    model: LlamaForCausalLM,
    examples: list[Example],
    method: Method,
) -> None:
    """Four rows of unlike length in two micro-batches: one mean over all supervised tokens, in TRL and here."""
    trl = pytest.importorskip("trl", reason="trl is not installed: pip install 'response-tuning[benchmark]'")
    loss_of = ResponseLoss(model)
    encoded, _ = encode_examples(
        examples[:4], Conversation(tokenizer, "tulu"), method, max_length=1024, overlong="error"
    )
    with torch.no_grad():
        ours = float(loss_of(collate(encoded)).mean())
    settings = trl.SFTConfig(
        output_dir=str(tmp_path),
        max_steps=1,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        logging_steps=1,
        learning_rate=0.0,
        bf16=False,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    tokenizer.pad_token = tokenizer.eos_token  # TRL asks for one; padding carries no label
    model.requires_grad_(True)
    trainer = trl.SFTTrainer(
        model=model,
        args=settings,
        train_dataset=to_trl(examples[:4], tokenizer, method),
        processing_class=tokenizer,
    )
    trainer.train()
    theirs = next(row["loss"] for row in trainer.state.log_history if "loss" in row)
    assert theirs == pytest.approx(ours, rel=1e-4)
