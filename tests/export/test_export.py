"""rt export on a tiny model: every file is there, loads, and was proved; and nothing is kept that was not."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from response_tuning.example import Example, write_examples
from response_tuning.export import export as export_module
from response_tuning.export.export import export
from response_tuning.export.export_config import ExportConfig
from response_tuning.export.licence import Base
from response_tuning.export.merged import write_merged
from response_tuning.export.model_card import model_card
from response_tuning.runs.folder import RunDirectory
from response_tuning.support.errors import UserError
from response_tuning.support.files import write_json
from response_tuning.training.trainer import train
from response_tuning.training.training_config import TrainingConfig


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, model_folder: Path, examples: list[Example]) -> Path:
    """A finished run whose adapter matters, with one evaluation."""
    folder = tmp_path_factory.mktemp("runs")
    data = folder / "secret folder" / "answers.jsonl"
    write_examples(data, examples[:16])
    config = TrainingConfig(
        output=folder / "mine",
        model=str(model_folder),
        data=str(data),
        format="chatml",
        dtype="float32",
        device="cpu",
        epochs=2,
        learning_rate=1e-2,
    )
    train(config)
    estimate = {"value": 0.25, "n": 80, "low": 0.125, "high": 0.375}
    write_json(folder / "mine" / "evaluations" / "probe" / "metrics.json", {"metrics": {"stops": estimate}})
    return config.output


def exported(run: Path, output: Path, **options: Any) -> Path:
    options = {"dtype": "float32", "device": "cpu", "check_prompts": 2, "check_tokens": 8, **options}
    return export(ExportConfig(run=run, output=output, **options)).path


def test_both_formats_lie_in_the_folder_and_are_proved(run: Path, tmp_path: Path) -> None:
    folder = exported(run, tmp_path / "hedgehog", formats=("safetensors", "gguf"), gguf_type="f16")
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "tokenizer.json", "chat_template.jinja", "generation_config.json"} <= names
    assert {"hedgehog-f16.gguf", "Modelfile", "README.md", "export.json"} <= names
    record = json.loads((folder / "export.json").read_text())
    assert [proof["file"] for proof in record["proofs"]] == ["safetensors", "hedgehog-f16.gguf"]
    assert all(proof["holds"] for proof in record["proofs"])
    assert record["proofs"][0]["same_tokens"] == record["proofs"][0]["tokens"] > 0
    assert record["proofs"][0]["largest_difference"] == 0
    assert not list(tmp_path.glob(".*"))


def test_the_exported_folder_loads_without_this_program_and_has_the_adapter_in_it(run: Path, tmp_path: Path) -> None:
    from peft import AutoPeftModelForCausalLM

    folder = exported(run, tmp_path / "out")
    merged = AutoModelForCausalLM.from_pretrained(folder)
    adapted = AutoPeftModelForCausalLM.from_pretrained(str(run / "adapter"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    messages = [{"role": "user", "content": "Why is the sky blue?"}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    ids = torch.tensor([prompt])
    with torch.no_grad():
        torch.testing.assert_close(merged(ids).logits, adapted(ids).logits, rtol=1e-4, atol=1e-4)
        base = adapted.get_base_model()
        with adapted.disable_adapter():
            assert (base(ids).logits - merged(ids).logits).abs().max() > 0.1
    stops = [tokenizer.convert_tokens_to_ids("<|im_end|>"), tokenizer.eos_token_id]
    assert merged.generation_config.eos_token_id == stops


def test_the_card_tells_data_settings_results_and_licence_but_no_folders(run: Path, tmp_path: Path) -> None:
    folder = exported(run, tmp_path / "out")
    card = (folder / "README.md").read_text()
    assert "| rows kept | 16 |" in card
    assert "learning_rate: 0.01" in card
    assert "| stops | 0.250 | 0.125 to 0.375 | 80 |" in card
    assert "licence of the base model is unknown" in card
    assert "answers.jsonl" in card
    for path in folder.iterdir():
        if path.suffix in {".json", ".md", ".jinja"}:
            assert "secret folder" not in path.read_text()
            assert str(run.parent) not in path.read_text()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("/home/me/secret/answers.jsonl", "answers.jsonl"),
        ("../secret/answers", "answers"),
        ("~/secret/base", "base"),
        ("secret/answers.jsonl.gz", "answers.jsonl.gz"),
        ("secret/of/mine", "mine"),
        ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B"),
        ("owner/name@refs/pr/1", "owner/name@refs/pr/1"),
        ("starter", "starter"),
    ],
)
def test_a_model_card_without_local_paths_though_they_are_gone(
    run: Path, value: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    base = Base("name", None, "unknown")
    settings = {"method": "rt", "model": value, "data": value, "held_out": value}
    card = model_card(RunDirectory(run), settings, base, [], gguf_name=None, title="mine")
    assert f"model: {shown}\ndata: {shown}\nheld_out: {shown}\n" in card
    assert "secret" not in card
    assert not (run / "adapter" / "README.md").exists()


def test_an_export_that_answers_otherwise_is_not_kept(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def spoiled(folder: Path, loaded: Any, conversation: Any) -> None:
        """What a forgotten adapter would do: other weights."""
        with torch.no_grad():
            loaded.model.model.layers[1].mlp.up_proj.weight.mul_(-1)
        write_merged(folder, loaded, conversation)

    monkeypatch.setattr(export_module, "write_merged", spoiled)
    with pytest.raises(UserError, match="does not answer as the run does"):
        exported(run, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_an_earlier_export_is_replaced_and_anything_else_is_left_alone(run: Path, tmp_path: Path) -> None:
    folder = exported(run, tmp_path / "out")
    (folder / "old").touch()
    assert not (exported(run, folder) / "old").exists()
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").touch()
    with pytest.raises(UserError, match="holds something else"):
        exported(run, other)
    assert (other / "thesis.tex").exists()
    with pytest.raises(UserError, match="holds something else"):
        exported(run, run)


def test_a_run_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished run"):
        exported(tmp_path / "nothing", tmp_path / "out")


def test_uploading_without_a_token_is_refused_before_any_work(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(UserError, match="hf auth login"):
        exported(run, tmp_path / "out", push_to_hub="my-name/my-model")
    assert not (tmp_path / "out").exists()


def test_an_upload_that_fails_leaves_the_finished_export(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests run offline, so the hub is out of reach for real."""
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_made_up")
    with pytest.raises(UserError, match=r"finished in .*out, but could not be uploaded to my-name/my-model"):
        exported(run, tmp_path / "out", push_to_hub="my-name/my-model")
    assert (tmp_path / "out" / "export.json").exists()
