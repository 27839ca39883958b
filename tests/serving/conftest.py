"""Runs of every kind on one tiny base model, served from one process."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedTokenizerBase

from response_tuning.conversation import Conversation
from response_tuning.data.demonstrations.in_context_config import InContextConfig
from response_tuning.data.demonstrations.make_in_context import make_in_context
from response_tuning.models.adapter import write_base_record
from response_tuning.models.fingerprint import weights_fingerprint
from response_tuning.models.load import load_model
from response_tuning.runs.load import load_run
from response_tuning.runs.rules.make_rules import make_rules
from response_tuning.runs.rules.rules_config import RulesConfig
from response_tuning.serving.app import build_app
from response_tuning.serving.engine import Engine
from response_tuning.serving.listening import running
from response_tuning.serving.load_served import load_served
from response_tuning.serving.served_run import ServedRun

NEW_TOKENS = 24


@dataclass(frozen=True)
class Served:
    """A server, and what the runs answer in this process."""

    url: str
    runs: dict[str, str]
    engine: Engine
    loaded: list[ServedRun]

    def expected(self, name: str, prompt: str) -> str:
        """The greedy text of a run that is loaded alone and merged."""
        run = load_run(self.runs[name], dtype="float32", device="cpu")
        return run.generate([prompt], max_new_tokens=NEW_TOKENS)[0].text


@pytest.fixture(scope="session")
def run_specs(
    tmp_path_factory: pytest.TempPathFactory, model_folder: Path, tokenizer: PreTrainedTokenizerBase
) -> dict[str, str]:
    """The tiny base model, and runs of every kind that are made from it and answer differently."""
    folder = tmp_path_factory.mktemp("served")
    base = str(model_folder)
    make_in_context(InContextConfig(model=base, output=folder / "shown", count=1))
    make_rules(RulesConfig(model=base, output=folder / "ruled"))
    return {
        "shown": str(folder / "shown"),
        "ruled": str(folder / "ruled"),
        "base": str(model_folder),
        "rt": str(_adapter_run(folder / "rt", model_folder, tokenizer, seed=1)),
        "it": str(_adapter_run(folder / "it", model_folder, tokenizer, seed=2)),
    }


def _adapter_run(folder: Path, base: Path, tokenizer: PreTrainedTokenizerBase, *, seed: int) -> Path:
    """A folder as training leaves it, with a random adapter."""
    torch.manual_seed(seed)
    loaded = load_model(str(base), dtype="float32", device="cpu")
    adapted = get_peft_model(loaded.model, LoraConfig(r=4 * seed, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            weight.data.normal_(std=0.3)
    adapter = folder / "adapter"
    adapted.save_pretrained(str(adapter))
    tokenizer_copy = Conversation(tokenizer, "tulu")
    tokenizer.save_pretrained(str(adapter))
    (adapter / "chat_template.jinja").write_text(tokenizer_copy.chat_template)
    write_base_record(
        adapter, adapter, spec=str(base), base=str(base), weights=weights_fingerprint(str(base)), four_bit=False
    )
    return folder


@pytest.fixture(scope="session")
def served(run_specs: dict[str, str]) -> Iterator[Served]:
    """All of them behind one server."""
    loaded = load_served(run_specs, dtype="float32", device="cpu")
    engine = Engine(batch_size=4, batches=4)
    with running(build_app(loaded, engine, max_new_tokens=NEW_TOKENS)) as url:
        yield Served(url, run_specs, engine, loaded)
    engine.stop()
