"""Kernels of other libraries: the same numbers as the tiles, and a clear message where they cannot be had."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from response_tuning.kernels.library_kernels import cut_cross_entropy, require_kernel
from response_tuning.support.errors import UserError
from response_tuning.support.options import LossKernel
from response_tuning.training.trainer import train
from response_tuning.training.training_config import TrainingConfig

SCRIPT = Path(__file__).parent / "interpreted_kernels.py"
ON_GPU = torch.cuda.is_available()


@pytest.fixture(scope="module")
def differences() -> dict[str, list[float]]:
    """Of each comparison that can be made here: on the GPU, or else in Triton's interpreter."""
    if not find_spec("triton"):
        pytest.skip("needs the extras liger and cut-cross-entropy")
    environment = os.environ | ({} if ON_GPU else {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"})
    process = subprocess.run([sys.executable, SCRIPT], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, list[float]] = json.loads(process.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
@pytest.mark.skipif(find_spec("liger_kernel") is None, reason="needs the extra liger")
def test_liger_gives_the_tiles_losses_and_gradients(differences: dict[str, list[float]]) -> None:
    exact = {name: found for name, found in differences.items() if "smoothing" in name}
    assert len(exact) == (8 if ON_GPU else 4)
    for name, found in exact.items():
        assert max(found) < (1e-2 if ON_GPU else 1e-5), name  # a GPU may multiply in TF32
    losses, hidden_gradient, head_gradient = differences["liger, trained, bf16 products"]
    assert losses < 0.05
    assert max(hidden_gradient, head_gradient) < 0.05


@pytest.mark.slow
@pytest.mark.skipif(find_spec("cut_cross_entropy") is None, reason="needs the extra cut-cross-entropy")
def test_cut_cross_entropy_gives_the_tiles_losses_and_gradients_within_16_bits(
    differences: dict[str, list[float]],
) -> None:
    found = {name: values for name, values in differences.items() if name.startswith("cut")}
    assert len(found) == 2
    for name, values in found.items():
        assert max(values) < (0.05 if ON_GPU else 0.01), name


@pytest.mark.parametrize("kernel", ["liger", "cut-cross-entropy"])
def test_a_training_on_the_processor_is_refused_before_anything_is_loaded(tmp_path: Path, kernel: str) -> None:
    config = TrainingConfig.model_validate({"output": tmp_path / "run", "loss_kernel": kernel, "device": "cpu"})
    with pytest.raises(UserError, match=f"--loss-kernel {kernel} needs a CUDA GPU, and this trains on cpu"):
        train(config)
    assert not config.output.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_smoothing": 0.1}, "no label smoothing"),
        ({"tuning": "full"}, "head's gradient in bf16"),
        ({"dtype": "float32"}, "multiplies in bf16"),
    ],
)
def test_what_cut_cross_entropy_cannot_do_exactly_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TrainingConfig(output=Path("run"), loss_kernel="cut-cross-entropy", **options)


@pytest.mark.skipif(find_spec("liger_kernel") is not None, reason="liger is installed")
def test_a_library_that_is_missing_is_named_with_its_extra() -> None:
    config = TrainingConfig(output=Path("run"), loss_kernel="liger", tuning="full", label_smoothing=0.1)
    with pytest.raises(UserError, match=r"pip install 'response-tuning\[liger\]'"):
        require_kernel(config.memory.loss_kernel, torch.device("cuda"))


@pytest.mark.parametrize("kernel", ["auto", "tiles"])
def test_the_tiles_need_nothing(kernel: LossKernel) -> None:
    TrainingConfig(output="run", loss_kernel=kernel, label_smoothing=0.1, tuning="full", dtype="float32")
    for device in ("cpu", "cuda", "mps"):
        require_kernel(kernel, torch.device(device))


def test_a_head_that_32_bits_cannot_index_is_refused() -> None:
    head = torch.empty((2**18, 2**13), dtype=torch.bfloat16, device="meta")
    hidden = torch.empty((3, 2**13), dtype=torch.bfloat16, device="meta")
    with pytest.raises(UserError, match="2,147,483,648 weights"):
        cut_cross_entropy(hidden, head, torch.zeros(3, dtype=torch.long), softcap=None)
