"""Training processes that start quickly; a test that needs Python's own start puts ``subprocess`` back."""

import pytest

from response_tuning.training.parallel import launch
from tests.quick_process import quick_subprocess


@pytest.fixture(autouse=True)
def _quick_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "subprocess", quick_subprocess())
