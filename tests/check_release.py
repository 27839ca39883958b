"""Build the release, install it into a new environment outside this checkout, and use it there.

    python tests/check_release.py                                  the newest versions that the bounds allow
    python tests/check_release.py --lowest                         the lowest ones (constraints-lowest.txt)
    python tests/check_release.py --extra embedded --extra excel   with extras

It downloads about 1.5 GB, and prints the packages, the size and the time of each step. The suite runs the same steps
against the libraries that are installed already (``tests/test_release.py``).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
TINY_MODEL = """
import sys, torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

backend = Tokenizer(models.BPE())
backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
backend.decoder = decoders.ByteLevel()
alphabet = pre_tokenizers.ByteLevel.alphabet()
trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
backend.train_from_iterator(["Unplug the router, wait ten seconds, and plug it in again."], trainer)
tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64,
    num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=1024))
model.save_pretrained(sys.argv[1])
tokenizer.save_pretrained(sys.argv[1])
"""
"""A program that writes a tiny random model: a release is checked without downloading one."""
ANSWERS = [
    "Unplug the router, wait ten seconds, and plug it in again.",
    "Your invoice is under Account, Billing.",
    "We close at six on Fridays.",
    "Reply to this message if the light stays red.",
]


def build(folder: Path, *, isolated: bool = True) -> tuple[Path, Path]:
    """Build the sdist, and the wheel from it; returns the wheel and the sdist."""
    options = [] if isolated else ["--no-isolation"]
    run([sys.executable, "-m", "build", *options, "--outdir", str(folder), str(ROOT)], cwd=folder)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def run(command: Sequence[str], *, cwd: Path, written: str = "") -> str:
    """Run a command as a user's shell would, without this checkout in reach; returns what it printed."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=cwd, env=kept, input=written, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout


STEPS = ("version", "doctor", "model", "train", "probe", "export")


def use(python: Path, folder: Path, *, steps: Sequence[str] = STEPS) -> dict[str, float]:
    """Use an installed release in an empty folder, from its version to an export; returns seconds by step.

    Args:
        python: the interpreter of the environment that it is installed in.
        folder: the folder to work in; its folder ``tiny`` is the base model, which the step "model" makes.
        steps: which of ``STEPS`` to take, in their order.
    """
    rt = [str(python), "-m", "response_tuning"]
    (folder / "answers.jsonl").write_text("".join(json.dumps({"completion": text}) + "\n" for text in ANSWERS))
    train = ["train", "--model", "tiny", "--data", "answers.jsonl", "--output", "runs/mine", "--epochs", "1"]
    commands: dict[str, list[str]] = {
        "version": [*rt, "--version"],
        "doctor": [*rt, "doctor", "--json"],
        "model": [str(python), "-c", TINY_MODEL, "tiny"],
        "train": [*rt, *train],
        "probe": [*rt, "probe", "runs/mine", "--max-examples", "2", "--max-new-tokens", "4"],
        "export": [*rt, "export", "runs/mine", "--output", "exports/mine", "--check-prompts", "1"],
    }
    seconds = {}
    for name in steps:
        started = time.monotonic()
        run(commands[name], cwd=folder)
        seconds[name] = round(time.monotonic() - started, 1)
    assert (folder / "runs" / "mine" / "adapter" / "adapter_model.safetensors").exists()
    assert "export" not in steps or (folder / "exports" / "mine" / "model.safetensors").exists()
    return seconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Check the release, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lowest", action="store_true", help="install the lowest versions that the bounds allow")
    parser.add_argument("--extra", action="append", default=[], help="an extra to install")
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the new environment")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "dist").mkdir()
        wheel, _ = build(folder / "dist")
        run([options.python, "-m", "venv", "venv"], cwd=folder)
        python = folder / "venv" / "bin" / "python"
        constraint = ["--constraint", str(ROOT / "constraints-lowest.txt")] if options.lowest else []
        extras = f"[{','.join(options.extra)}]" if options.extra else ""
        started = time.monotonic()
        run([str(python), "-m", "pip", "install", "--quiet", *constraint, f"{wheel}{extras}"], cwd=folder)
        installed = time.monotonic() - started
        run([str(python), "-m", "pip", "check"], cwd=folder)
        packages = json.loads(run([str(python), "-m", "pip", "list", "--format", "json"], cwd=folder))
        size = sum(path.stat().st_size for path in (folder / "venv").rglob("*") if path.is_file())
        print(f"installed {len(packages)} packages, {size / 1e9:.1f} GB, in {installed:.0f} s")
        (folder / "empty").mkdir()
        print("used, seconds by step:", use(python, folder / "empty"))


if __name__ == "__main__":
    main()
