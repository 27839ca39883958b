"""What tests of synthesis share."""

import pytest

from tests.evaluation.judges import KEY


@pytest.fixture(autouse=True)
def served_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the served models' key."""
    monkeypatch.setenv("FAULTY_API_KEY", KEY)
