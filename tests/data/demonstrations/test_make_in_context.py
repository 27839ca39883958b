"""``rt in-context``: the prompt is the published one, and the run holds all that decides it."""

from importlib.resources import files
from pathlib import Path

import pytest

from response_tuning.data.demonstrations import make_in_context as module
from response_tuning.data.demonstrations.in_context_config import InContextConfig, Style
from response_tuning.data.demonstrations.make_in_context import make_in_context
from response_tuning.example import Example, read_examples
from response_tuning.models.fingerprint import model_fingerprint
from response_tuning.models.load import load_model
from response_tuning.runs.folder import evaluation_folder
from response_tuning.runs.load import load_responder, load_run
from response_tuning.runs.local import LocalRun
from response_tuning.runs.registry import kind_of
from response_tuning.support.assets import MIRROR_VARIABLE
from response_tuning.support.configuration import written_options
from response_tuning.support.errors import UserError
from tests.conftest import SHARED_DATA


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """Two short pairs, the second of which has a code block and no line break at its end."""
    path = tmp_path / "short.jsonl"
    path.write_text(
        '{"prompt": "Say hi.\\n", "completion": "Hi there!\\n"}\n'
        '{"prompt": "List files.", "completion": "```sh\\nls\\n```"}\n'
    )
    return path


def made(folder: Path, model: Path, demonstrations: object, style: Style = "response", **options: object) -> Path:
    config = {"model": str(model), "output": folder, "style": style, "demonstrations": str(demonstrations), **options}
    return make_in_context(InContextConfig.model_validate(config)).path


def prompt_of(run: Path, instruction: str) -> str:
    responder = load_responder(str(run), "auto", dtype="float32", device="cpu")
    return str(responder.loaded.tokenizer.decode(responder.conversation.prompt_ids(instruction)))


@pytest.mark.parametrize(
    ("style", "shown"),
    [
        ("response", "# Answer:\n```\nHi there!\n```\n\n# Answer:\n```\n```sh\nls\n```\n```\n\n"),
        (
            "pairs",
            "# Query:\n```\nSay hi.\n```\n\n# Answer:\n```\nHi there!\n```\n\n"
            "# Query:\n```\nList files.\n```\n\n# Answer:\n```\n```sh\nls\n```\n```\n\n",
        ),
    ],
)
def test_the_prompt_is_preamble_demonstrations_and_query(
    tmp_path: Path, model_folder: Path, short: Path, style: Style, shown: str
) -> None:
    preamble = tmp_path / "preamble.txt"
    preamble.write_text("Be kind.")
    run = made(tmp_path / "run", model_folder, short, style, preamble=preamble)
    query = "# Query:\n```\nWhat is rain?\n```\n\n# Answer:\n```"
    assert prompt_of(run, " What is rain? ") == f"<s>Be kind.\n\n{shown}{query}"
    kind = kind_of(str(run))
    assert kind is not None and kind.name == written_options(run / "config.yaml")["kind"] == "in_context"
    rows = read_examples(run / "demonstrations.jsonl")
    assert [row.prompt for row in rows] == (["Say hi.\n", "List files."] if style == "pairs" else [None, None])


def test_zero_shot_is_the_query_alone(tmp_path: Path, model_folder: Path) -> None:
    config = InContextConfig(model=str(model_folder), output=tmp_path / "run", style="zero-shot")
    assert prompt_of(make_in_context(config).path, "Go") == "<s># Query:\n```\nGo\n```\n\n# Answer:\n```"
    with pytest.raises(ValueError, match="shows nothing before the query"):
        InContextConfig(model=str(model_folder), output=tmp_path / "run", style="zero-shot", count=2)


@pytest.mark.skipif(not (SHARED_DATA / "urial").is_dir(), reason="URIAL's prompts are not here")
def test_urials_prompt_is_the_published_one_character_for_character(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, str(SHARED_DATA))
    monkeypatch.setattr(module, "context_of", lambda _config: None)
    published = (SHARED_DATA / "urial" / "inst_1k_v4.txt").read_text(encoding="utf-8")
    query = "\n# Query:\n```\nWhat is rain?\n```\n\n# Answer:\n```"
    pairs = prompt_of(made(tmp_path / "pairs", model_folder, "urial", "pairs"), "What is rain?")
    assert pairs == f"<s>{published}{query}"
    alone = prompt_of(made(tmp_path / "alone", model_folder, "urial"), "What is rain?")
    assert alone.count("# Answer:\n```\n") == 3
    assert alone.count("# Query:\n```\n") == 1
    assert "Below is a list of responses of AI assistant (you). \nUsers place their queries under" in alone
    assert alone.endswith("your specific fryer model.\n```\n" + query)


def test_the_packages_own_demonstrations_are_a_list_a_refusal_and_steps_and_no_words_of_urials(
    tmp_path: Path, model_folder: Path
) -> None:
    run = make_in_context(InContextConfig(model=str(model_folder), output=tmp_path / "run")).path
    rows = read_examples(run / "demonstrations.jsonl")
    packaged = read_examples(Path(str(files("response_tuning.data.starter") / "demonstrations.jsonl")))
    assert [row.completion for row in rows] == [row.completion for row in packaged]
    assert [(row.model_extra or {})["kind"] for row in packaged] == ["list", "refusal", "steps"]
    if (SHARED_DATA / "urial").is_dir():
        theirs = sixes((SHARED_DATA / "urial" / "inst_1k_v4.txt").read_text(encoding="utf-8"))
        assert not theirs & sixes("\n".join(row.completion for row in packaged))


def sixes(text: str) -> set[tuple[str, ...]]:
    words = text.lower().split()
    return set(zip(*(words[start:] for start in range(6)), strict=False))


def test_a_run_answers_and_scores_and_its_files_alone_decide_its_identity(
    tmp_path: Path, model_folder: Path, short: Path
) -> None:
    folder = made(tmp_path / "run", model_folder, short)
    run = load_run(folder, dtype="float32", device="cpu")
    assert isinstance(run, LocalRun)
    assert run.responder.conversation.format_name == "in-context-response"
    (response,) = run.generate(["What is rain?"], max_new_tokens=8)
    assert response.token_count
    scores = run.score(["What is rain?", None], ["Water.", "Water."])
    assert scores[0] != scores[1]
    assert evaluation_folder(str(folder), "probe") == folder / "evaluations" / "probe"
    moved = tmp_path / "elsewhere" / "copy"
    moved.parent.mkdir()
    identity = model_fingerprint(str(folder))
    folder.rename(moved)
    assert model_fingerprint(str(moved)) == identity != model_fingerprint(str(model_folder))
    assert load_run(moved, dtype="float32", device="cpu").generate(["What is rain?"], max_new_tokens=8) == [response]
    (moved / "preamble.txt").write_text("Another.\n\n")
    assert model_fingerprint(str(moved)) != identity


def test_making_a_run_again_changes_nothing_and_other_options_are_refused(
    tmp_path: Path, model_folder: Path, short: Path
) -> None:
    folder = made(tmp_path / "run", model_folder, short)
    (folder / "demonstrations.jsonl").write_text('{"completion": "Edited."}\n')
    assert made(folder, model_folder, short) == folder
    assert read_examples(folder / "demonstrations.jsonl") == [Example(completion="Edited.")]
    with pytest.raises(UserError, match="was made with another configuration"):
        made(folder, model_folder, short, "pairs")
    with pytest.raises(UserError, match="is a run of the kind in_context"):
        made(tmp_path / "above", folder, short)
    with pytest.raises(UserError, match="has no weights of its own"):
        load_model(str(folder))
    with pytest.raises(UserError, match="Leave out --format and --formats"):
        load_run(folder, format="tulu", dtype="float32", device="cpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 3}, "has 2 examples to show. Lower --count 3"),
        ({"demonstrations": "nowhere.jsonl"}, "nowhere.jsonl"),
        ({"model": "nowhere/at/all"}, "nowhere/at/all"),
        ({"demonstrations": "starter-held-out", "count": 80}, "80 demonstrations take .* context of .* has 2,048"),
        ({"preamble": "no.txt"}, "There is no file no.txt"),
    ],
)
def test_what_cannot_be_made_is_one_clear_message_and_no_folder(
    tmp_path: Path, model_folder: Path, short: Path, options: dict[str, object], message: str
) -> None:
    config = {"model": str(model_folder), "output": tmp_path / "run", "demonstrations": str(short), **options}
    with pytest.raises(UserError, match=message):
        make_in_context(InContextConfig.model_validate(config))
    assert not (tmp_path / "run").exists()


def test_pairs_need_prompts(tmp_path: Path, model_folder: Path) -> None:
    path = tmp_path / "alone.jsonl"
    path.write_text('{"completion": "Hi."}\n')
    with pytest.raises(UserError, match="no prompt, which --style pairs needs"):
        made(tmp_path / "run", model_folder, path, "pairs")
    assert made(tmp_path / "run", model_folder, path).is_dir()
