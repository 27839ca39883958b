"""Refining against a real server that fails on purpose: every row in one state, none lost, none asked twice."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from response_tuning.asking.ask_once import ledger_path
from response_tuning.cli.main import main
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.example import Example, read_examples, write_examples
from response_tuning.support.errors import UserError
from response_tuning.synthesis.refine import RefineConfig, refine
from response_tuning.synthesis.request import fill_template, read_template
from response_tuning.synthesis.revision import MARKER
from tests.evaluation.judges import KEY
from tests.inference.faulty_server import FAULTS, FaultyServer, serve
from tests.quick_process import QuickProcess

MODEL = "openai-api/faulty/model"


def examples(count: int) -> list[Example]:
    return [
        Example(completion=f"Row {number} says that tea number {number} is brewed in the town of Zug. It is warm.")
        for number in range(1, count + 1)
    ]


def row_number(question: str) -> int:
    found = re.search(r"Row (\d+) says", question)
    assert found is not None
    return int(found.group(1))


def revision(question: str, *, prefix: str = "In row") -> str:
    number = row_number(question)
    return f"{MARKER}\n{prefix} {number} you find that tea number {number}, brewed in the town of Zug, is warm."


def config(tmp_path: Path, server: FaultyServer, **others: object) -> RefineConfig:
    values = {"retries": 2, "timeout_seconds": 3, "concurrency": 16} | others
    return RefineConfig.model_validate(
        {
            "source": str(tmp_path / "in.jsonl"),
            "output": tmp_path / "out.jsonl",
            "model": MODEL,
            "base_url": server.url,
            **values,
        }
    )


def audit(tmp_path: Path) -> list[dict[str, object]]:
    lines = ledger_path(tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[1:]]


def test_rows_are_refined_or_kept_with_a_reason_and_keep_their_source(tmp_path: Path) -> None:
    source = examples(6)
    write_examples(tmp_path / "in.jsonl", source)
    answers = {
        2: "no marker here",
        3: "(long) " + MARKER,
        4: f"{MARKER}\nTea.",
        5: f"{MARKER}\nIn this row you find that some tea, brewed in the town of Bern, is warm, they say.",
        6: "I'm sorry, but I can't help with that.",
    }
    with serve(lambda question, _: answers.get(row_number(question), revision(question))) as server:
        result = refine(config(tmp_path, server))
    assert result.states == {
        "refined": 1,
        "no marker": 1,
        "truncated": 1,
        "much shorter": 1,
        "lost numbers or names": 1,
        "refused": 1,
    }
    written = read_examples(tmp_path / "out.jsonl")
    extras = [example.model_extra or {} for example in written]
    assert [extra["source_completion"] for extra in extras] == [example.completion for example in source]
    assert extras[0]["refinement"] == "refined"
    assert extras[1]["refinement"] == "kept: no marker"
    assert written[0].completion.startswith("In row 1 you find")
    assert [example.completion for example in written[1:]] == [example.completion for example in source[1:]]
    assert len(audit(tmp_path)) == 6


def test_after_every_fault_each_row_is_in_one_state_and_none_is_lost(tmp_path: Path) -> None:
    source = examples(4 * len(FAULTS))
    write_examples(tmp_path / "in.jsonl", source)

    def reply(question: str, before: int) -> str:
        # Each row meets one fault; three of four meet it once and are answered then, the fourth meets it always.
        number = row_number(question)
        fault = FAULTS[number % len(FAULTS)]
        return fault if before == 0 or number > 3 * len(FAULTS) else revision(question)

    with serve(reply, hang_seconds=4) as server:
        result = refine(config(tmp_path, server, retries=1, timeout_seconds=2, concurrency=len(source)))
    rows = audit(tmp_path)
    assert len(rows) == len({row["key"] for row in rows}) == len(source)
    assert result.states == {"refined": 3 * len(FAULTS), "error after retries": len(FAULTS)}
    assert len(read_examples(tmp_path / "out.jsonl")) == len(source)

    # The failed rows are asked again only where that is wanted.
    with serve(lambda question, _: revision(question)) as server:
        again = config(tmp_path, server, retries=1, timeout_seconds=2)
        assert refine(again).states == result.states
        assert server.asked == []
        assert refine(again.model_copy(update={"retry_errors": True})).states == {"refined": len(source)}
        assert len(server.asked) == len(FAULTS)


def test_a_killed_refinement_goes_on_and_asks_for_no_finished_row_twice(tmp_path: Path) -> None:
    source = examples(60)
    write_examples(tmp_path / "in.jsonl", source)
    ledger = ledger_path(tmp_path / "out.jsonl")

    def slow(question: str, _: int) -> str:
        time.sleep(0.05)
        return revision(question)

    with serve(slow) as server:
        command = [
            *(sys.executable, "-m", "response_tuning", "data", "refine", str(tmp_path / "in.jsonl")),
            *("--output", str(tmp_path / "out.jsonl"), "--model", MODEL, "--base-url", server.url, "-j", "2"),
        ]
        process = QuickProcess(command, stderr=subprocess.DEVNULL, env=os.environ | {"FAULTY_API_KEY": KEY})
        wait_for_lines(ledger, 15)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with ledger.open("ab") as file:
            file.write(b'{"key": "17:cut o')  # as a kill in the middle of a line leaves it
        finished = {row_number(str(row["source_completion"])) for row in audit_whole_lines(ledger)}
        asked_before = len(server.asked)
        assert 0 < len(finished) < len(source)
        assert not (tmp_path / "out.jsonl").exists()

        assert main(command[3:]) == 0
        asked_again = [row_number(question) for question in server.asked[asked_before:]]
    assert sorted(asked_again) == sorted(set(range(1, 61)) - finished)
    assert len(read_examples(tmp_path / "out.jsonl")) == len(source)
    rows = audit(tmp_path)
    assert len(rows) == len({row["key"] for row in rows}) == len(source)


def wait_for_lines(path: Path, count: int) -> None:
    for _ in range(600):
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} never had {count} lines")


def audit_whole_lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[1:-1]]


def test_no_secret_appears_in_any_file_or_on_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_examples(tmp_path / "in.jsonl", examples(3))
    replies = {1: "status 500"}
    with serve(lambda question, _: replies.get(row_number(question), revision(question))) as server:
        options = ["--model", MODEL, "--base-url", server.url, "--retries", "0", "-j", "1"]
        assert main(["data", "refine", "in.jsonl", "--output", "out.jsonl", *options]) == 0
        assert server.authorizations == {f"Bearer {KEY}"}
    with serve(lambda *_: "status 401") as server:
        options = ["--model", MODEL, "--base-url", server.url, "--retries", "0"]
        assert main(["data", "refine", "in.jsonl", "--output", "other.jsonl", *options]) == 2
    printed = capfd.readouterr()
    assert "refuses to answer (status 401)" in " ".join(printed.err.split())
    assert KEY not in printed.out + printed.err
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert ledger_path(tmp_path / "out.jsonl") in written
    assert [path for path in written if KEY in path.read_text(encoding="utf-8")] == []


def test_a_refused_key_stops_at_once_and_spends_no_row(tmp_path: Path) -> None:
    write_examples(tmp_path / "in.jsonl", examples(50))
    with serve(lambda *_: "status 401") as server, pytest.raises(UserError, match="401"):
        refine(config(tmp_path, server, concurrency=2))
    assert len(server.asked) <= 4
    assert audit(tmp_path) == []


def test_a_server_that_only_fails_is_given_up(tmp_path: Path) -> None:
    write_examples(tmp_path / "in.jsonl", examples(50))
    with serve(lambda *_: "status 400") as server, pytest.raises(UserError, match="20 times in a row"):
        refine(config(tmp_path, server, concurrency=1))
    assert len(server.asked) == 20


def test_a_dry_run_asks_nothing_and_writes_nothing(tmp_path: Path) -> None:
    write_examples(tmp_path / "in.jsonl", examples(10))
    with serve(lambda question, _: revision(question)) as server:
        options = {"dry_run": True, "input_usd_per_million": 1.0, "output_usd_per_million": 4.0}
        result = refine(config(tmp_path, server, **options))
    forecast = result.cost
    assert server.asked == []
    assert forecast.usd == pytest.approx((forecast.input_tokens + 4 * forecast.output_tokens) / 1e6)
    assert forecast.questions == 10
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_keys_of_asked_rows_hold_neither_filters_nor_addresses_nor_limits(tmp_path: Path) -> None:
    write_examples(tmp_path / "in.jsonl", examples(3))

    def reply(question: str, _: int) -> str:
        number = row_number(question)
        return f"{MARKER}\nIn row {number}, tea number {number}, brewed in Zug, is warm."

    with serve(reply) as server:
        assert refine(config(tmp_path, server)).states == {"refined": 3}
    with serve(reply) as server:
        assert refine(config(tmp_path, server, shortest_share=1.0)).states == {"much shorter": 3}
        assert [row["state"] for row in audit(tmp_path)][-3:] == ["much shorter"] * 3
        assert refine(config(tmp_path, server, shortest_share=0.1, max_tokens=99)).states == {"refined": 3}
        assert server.asked == []


def test_keys_of_asked_rows_of_an_earlier_version_are_found(tmp_path: Path) -> None:
    """It numbered the rows, and asked with a marker that had no nonce."""
    source = examples(2)
    write_examples(tmp_path / "in.jsonl", source)
    template = read_template("refine.txt")
    lines: list[dict[str, object]] = [
        {"identity": {"command": "refine", "model": MODEL, "base_url": "http://x", "max_tokens": 9}}
    ]
    for number, example in enumerate(source, start=1):
        text = fill_template(template, prompt="", completion=example.completion, marker=MARKER)
        row = {"key": f"{number}:{hashlib.sha256(text.encode()).hexdigest()[:16]}", "state": "refined", "detail": ""}
        row |= {"source_completion": example.completion, "completion": "Tea."}
        lines.append(row | {"answer": revision(text), "seconds": 1.0, "input_tokens": 1, "output_tokens": 1})
    ledger = ledger_path(tmp_path / "out.jsonl")
    ledger.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    with serve(lambda question, _: revision(question)) as server:
        assert refine(config(tmp_path, server)).states == {"refined": 2}
    assert server.asked == []


def test_refine_and_markers_a_text_may_hold_a_marker_of_its_own(tmp_path: Path) -> None:
    own = "The plan has two steps and no more of them.\n\nRevision: read it twice before you send it to anybody."
    write_examples(tmp_path / "in.jsonl", [Example(completion=own), Example(completion=f" {own}\n")])

    def echo(question: str, _: int) -> str:
        (marker,) = re.findall(r'the heading "(### Revision \w+)"', question)
        assert marker.split()[-1] not in own
        return f"{marker}\nIn short:\n\n{own}"

    with serve(echo) as server:
        assert refine(config(tmp_path, server)).states == {"refined": 2}
    assert len(server.asked) == 1
    assert [row.completion for row in read_examples(tmp_path / "out.jsonl")] == [f"In short:\n\n{own}"] * 2
    with serve(lambda *_: f"### Revision\nIn short:\n\n{own}") as server:
        assert refine(config(tmp_path, server, output=tmp_path / "b.jsonl")).states == {"no marker": 2}
    kept = [row.completion for row in read_examples(tmp_path / "b.jsonl")]
    assert kept == [own, f" {own}\n"]


def test_refine_and_secrets_texts_stay_and_messages_hold_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCAL_API_KEY", "lm-studio")
    monkeypatch.setenv("FAULTY_API_KEY", "hunter2-hunter2")
    source = [
        Example(completion="Read pk_department_employees, and send Bearer YOUR_ACCESS_TOKEN_HERE."),
        Example(completion="Start lm-studio and type hunter2-hunter2, please, before noon."),
    ]
    write_examples(tmp_path / "in.jsonl", source)

    def echo(question: str, _: int) -> str:
        (marker,) = re.findall(r'the heading "(### Revision \w+)"', question)
        return f"{marker}\n{question.split('### Text')[-1].strip()} Thanks."

    with serve(echo) as server:
        address = server.url.replace("//", "//me:secret-word@")
        assert refine(config(tmp_path, server, base_url=address)).states == {"refined": 2}
    written = [row.completion for row in read_examples(tmp_path / "out.jsonl")]
    assert written == [f"{example.completion} Thanks." for example in source]
    assert "secret-word" not in ledger_path(tmp_path / "out.jsonl").read_text(encoding="utf-8")
    with serve(lambda *_: "status 401") as server, pytest.raises(UserError) as stopped:
        refine(config(tmp_path, server, output=tmp_path / "b.jsonl"))
    assert "hunter2" not in str(stopped.value) + capsys.readouterr().err


def test_28_judge_cut_off_512_the_advice_after_a_cut_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_examples(tmp_path / "in.jsonl", examples(2))

    def reply(question: str, before: int) -> str:
        return "(long) Let me think" if row_number(question) == 1 and not before else revision(question)

    with serve(reply) as server:
        assert refine(config(tmp_path, server)).states == {"truncated": 1, "refined": 1}
        assert "larger --max-tokens than 1024 to ask for these again, alone" in " ".join(
            capsys.readouterr().err.split()
        )
        assert refine(config(tmp_path, server, max_tokens=2048)).states == {"refined": 2}
    assert [row_number(question) for question in server.asked].count(1) == 2


def test_rows_that_changed_since_are_asked_and_no_others(tmp_path: Path) -> None:
    source = examples(4)
    write_examples(tmp_path / "in.jsonl", source)
    with serve(lambda question, _: revision(question)) as server:
        refine(config(tmp_path, server))
        changed = Example(completion=source[2].completion + " It is also sweet.")
        write_examples(tmp_path / "in.jsonl", [*source[:2], changed, source[3]])
        refine(config(tmp_path, server))
    assert server.counts.total() == 5
    assert [row_number(question) for question in server.asked[4:]] == [3]


def test_the_model_sees_the_prompt_where_that_is_wanted(tmp_path: Path) -> None:
    pair = examples(1)[0].model_copy(update={"prompt": "What does row one say?"})
    write_examples(tmp_path / "in.jsonl", [pair])
    with serve(lambda question, _: revision(question)) as server:
        refine(config(tmp_path, server, show_prompts=True))
        refine(config(tmp_path, server, output=tmp_path / "other.jsonl"))
    assert ["What does row one say?" in question for question in server.asked] == [True, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "nobody/nothing"], "There is no model 'nobody/nothing'"),
        (["--model", "openai-api/missing/model"], "MISSING_API_KEY"),
        (["--model", "none.gguf"], "There is no model file none.gguf"),
        (["--output", "in.jsonl"], "is the source itself"),
        (["--output", "out.csv"], "should end in .jsonl"),
    ],
)
def test_bad_options_are_one_clear_message(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_examples(tmp_path / "in.jsonl", examples(1))
    options = arguments if "--output" in arguments else ["--output", "out.jsonl", *arguments]
    assert main(["data", "refine", "in.jsonl", *options]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out.jsonl").exists()


def test_two_processes_do_not_write_one_output(tmp_path: Path) -> None:
    write_examples(tmp_path / "in.jsonl", examples(2))
    with serve(lambda question, _: revision(question)) as server:
        options = config(tmp_path, server)

        def reply(question: str, _: int) -> str:
            with pytest.raises(UserError, match="Another process is writing"):
                refine(inner)
            return revision(question)

        with serve(reply) as outer:
            inner = options.model_copy(update={"base_url": outer.url})
            assert refine(inner).states == {"refined": 2}


@pytest.mark.slow
def test_the_embedded_instruct_model_refines_real_rows(tmp_path: Path) -> None:
    """Eight starter rows; it is a small model, so much is kept, but each row is in one state and some are refined."""
    write_examples(tmp_path / "in.jsonl", load_examples("starter")[:8])
    result = refine(
        RefineConfig(source=str(tmp_path / "in.jsonl"), output=tmp_path / "out.jsonl", max_tokens=128, concurrency=8)
    )
    assert sum(result.states.values()) == 8
    assert result.states["refined"] >= 1
    refined = [
        row for row in read_examples(tmp_path / "out.jsonl") if (row.model_extra or {})["refinement"] == "refined"
    ]
    assert all(row.completion != (row.model_extra or {})["source_completion"] for row in refined)
