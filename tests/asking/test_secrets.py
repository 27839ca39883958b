import pytest

from response_tuning.asking.secrets import hide_secrets


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "HF_TOKEN", "Service_Secret", "DATABASE_PASSWORD", "ALL_MY_KEYS"])
def test_values_of_variables_that_hold_keys_are_hidden(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "very+private.value")
    assert hide_secrets("a very+private.value here") == f"a [{name}] here"


def test_what_looks_like_a_key_is_hidden_wherever_it_comes_from() -> None:
    text = "key sk-abcdefghijklmnop1234, Authorization: Bearer abcdefghijklmnop.1234, hf_abcdefghijklmnop12"
    assert hide_secrets(text) == "key [secret], Authorization: [secret], [secret]"


def test_ordinary_text_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT_KEY", "a")
    monkeypatch.setenv("EDITOR", "an ordinary value")
    text = "a task-based risk-free bearer bond; an ordinary value, pk and sk-learn"
    assert hide_secrets(text) == text
