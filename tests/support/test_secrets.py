import pytest

from response_tuning.asking.ask_options import AskOptions
from response_tuning.support.secrets import hide_secrets, without_credentials


@pytest.mark.parametrize(
    "name",
    [
        *("OPENAI_API_KEY", "HF_TOKEN", "Service_Secret", "DATABASE_PASSWORD", "ALL_MY_KEYS", "OPENAI_API_KEY_2"),
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "DB_PASSWD", "PGPASSWORD", "MYSQL_PWD", "OPENAI_APIKEY"),
        *("KEY1", "API_KEY2", "GITHUB_TOKEN_FOR_CI", "GOOGLE_CREDENTIALS", "TOKEN"),
    ],
)
def test_refine_and_secrets_values_of_variables_that_hold_keys_are_hidden(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "very+private.value")
    assert hide_secrets("a very+private.value here") == f"a [{name}] here"


@pytest.mark.parametrize("value", ["lm-studio", "not-needed", "ollama", "EMPTY", "none", "dummy_value", "sk-no-key"])
def test_refine_and_secrets_dummy_keys_are_words(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("LOCAL_API_KEY", value)
    assert hide_secrets(f"Start {value} first.") == f"Start {value} first."


def test_a_password_of_words_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "correct-horse")
    assert hide_secrets("correct-horse") == "[DB_PASSWORD]"


def test_a_key_within_another_key_does_not_show_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "abcdefg1")
    monkeypatch.setenv("B_KEY", "abcdefg123456")
    assert hide_secrets("abcdefg123456") == "[B_KEY]"


def test_ordinary_text_stays_whatever_it_looks_like(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT_KEY", "a")
    monkeypatch.setenv("EDITOR", "an ordinary value")
    monkeypatch.setenv("KEYBOARD", "qwerty12345")
    monkeypatch.setenv("PWD", "/home/me/work1")
    text = (
        "a task-based risk-free bearer bond; an ordinary value, pk_department_employees, Bearer YOUR_ACCESS_TOKEN_HERE,"
        " sk-abcdefghijklmnop1234; qwerty12345 in /home/me/work1; me@example.org, https://example.org/@me:x"
    )
    assert hide_secrets(text) == text


@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("https://me:pass@host:8000/v1", "https://host:8000/v1"),
        ("https://token@host/v1", "https://host/v1"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
    ],
)
def test_refine_and_secrets_urls_are_written_without_user_and_password(url: str, written: str) -> None:
    options = AskOptions(base_url=url)
    assert options.base_url == url
    assert options.model_dump(mode="json")["base_url"] == without_credentials(url) == written
