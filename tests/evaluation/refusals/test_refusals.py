"""Refusals from prompts to metrics: real benchmarks, a tiny or a served model, and a judge on a real server."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from response_tuning.cli.main import main
from response_tuning.data.sampling import draw
from response_tuning.evaluation.refusals.refusals import RefusalsResult, evaluate_refusals
from response_tuning.evaluation.refusals.refusals_config import RefusalsConfig
from response_tuning.evaluation.refusals.unsafe_prompts import load_unsafe_prompts
from response_tuning.evaluation.refusals.verdicts import DECIDED
from response_tuning.evaluation.shared import answering
from response_tuning.support.assets import MIRROR_VARIABLE
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json, read_json_lines
from tests.conftest import SHARED_DATA
from tests.evaluation.judges import KEY, SERVED, section, verdict, whole_rows, without_secrets
from tests.inference.faulty_server import FaultyServer, serve
from tests.quick_process import QuickProcess

REFUSED = "I'm sorry, but I can't help with that."
LEDGER = "judge-openai-api-faulty-model.jsonl"

pytestmark = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the real data are not beside the project")


@pytest.fixture(autouse=True)
def mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, str(SHARED_DATA))


def config(tmp_path: Path, model: str, **others: object) -> RefusalsConfig:
    values = {"max_examples": 6, "max_new_tokens": 4, "device": "cpu", "dtype": "float32", "retries": 0} | others
    return RefusalsConfig.model_validate({"model": model, "output": tmp_path / "out", "offline": True, **values})


def judged_by(server: FaultyServer, **others: object) -> dict[str, object]:
    return {"judge": SERVED, "judge_base_url": server.url, **others}


def evaluated(config: RefusalsConfig) -> RefusalsResult:
    result = evaluate_refusals(config)
    assert result is not None
    return result


def mixed(question: str, _: int) -> str:
    """Refusals, compliances, no verdicts and errors, by the request's length."""
    answers = ("status 400", verdict(question, "REFUSAL"), verdict(question, "COMPLIANCE"), "I cannot say.")
    return answers[len(section(question, "request")) % 4]


def forbid_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(answering, "load_run", fail)


def test_every_response_of_every_benchmark_is_in_one_state_and_rates_say_over_how_many(
    tmp_path: Path, model_folder: Path
) -> None:
    with serve(mixed) as server:
        result = evaluated(config(tmp_path, str(model_folder), **judged_by(server)))
    rows = result.rows
    assert Counter(row["benchmark"] for row in rows) == dict.fromkeys(
        ("advbench", "harmbench-standard", "harmbench-contextual", "malicious-instruct", "xstest"), 6
    )
    states = {(len(row["prompt"]) % 4, row["state"], row["verdict"]) for row in rows if row["response"].strip()}
    assert states <= {
        (0, "refused by the server", "unparsed"),
        (1, "judged", "refusal"),
        (2, "judged", "compliance"),
        (3, "unparsed", "unparsed"),
    }
    assert len(states) == 4
    assert all((row["values"] != {}) == (row["verdict"] in DECIDED) for row in rows)
    for rates in result.rates.values():
        decided = rates.refusal.n if rates.refusal else 0
        assert decided + rates.unparsed + rates.empty == rates.responses
    assert sum(rates.responses for rates in result.rates.values()) == len(rows) == 30
    for name, categories in result.categories.items():
        assert sum(rates.responses for rates in categories.values()) == result.rates[name].responses
    assert set(result.categories["harmbench-standard"]) == {
        row["category"] for row in rows if row["benchmark"] == "harmbench-standard"
    }
    assert result.method == SERVED


def test_a_finished_evaluation_asks_nothing_and_loads_no_model_and_another_judge_generates_nothing(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(lambda question, _: verdict(question, "REFUSAL")) as server:
        first = config(tmp_path, str(model_folder), sets=("advbench",), **judged_by(server))
        result = evaluated(first)
        metrics = read_json(tmp_path / "out" / "metrics.json")
        before = len(server.asked)
        forbid_loading(monkeypatch)
        assert evaluated(first) == result
        assert len(server.asked) == before
        again = read_json(tmp_path / "out" / "metrics.json")
        assert {**again, "date": ""} == {**metrics, "date": ""}
        other = first.model_copy(update={"judge": "openai-api/faulty/other"})
        assert evaluated(other).rows == result.rows
        assert len(server.asked) == 2 * before
        assert evaluated(first.model_copy(update={"judge": None})).method == "keyword"
        assert len(server.asked) == 2 * before


def test_keywords_decide_without_a_judge_and_make_xstests_scores(tmp_path: Path) -> None:
    """A served model that refuses what is unsafe, and every safe prompt about killing."""
    prompts = {prompt.prompt: prompt for prompt in load_unsafe_prompts("xstest", offline=True)}

    def reply(question: str, _: int) -> str:
        refuses = prompts[question].is_unsafe or "kill" in question.lower()
        return REFUSED if refuses else "I'm sorry to hear that. Here is how: first, take a deep breath."

    with serve(reply) as server:
        served = config(tmp_path, SERVED, base_url=server.url, sets=("xstest",), max_examples=60)
        result = evaluated(served)
        assert len(server.asked) == 60
    asked = [prompts[row["prompt"]] for row in result.rows]
    unsafe = sum(prompt.is_unsafe for prompt in asked)
    refused_safe = sum("kill" in prompt.prompt.lower() for prompt in asked if not prompt.is_unsafe)
    assert 0 < unsafe < 60
    assert 0 < refused_safe < 60 - unsafe
    xstest = result.xstest
    assert xstest is not None
    counts = xstest.confusion
    assert (counts.true_positives, counts.false_positives) == (unsafe, refused_safe)
    assert (counts.false_negatives, counts.true_negatives) == (0, 60 - unsafe - refused_safe)
    assert xstest.precision is not None
    assert xstest.precision.value == round(unsafe / (unsafe + refused_safe), 4)
    assert xstest.recall is not None
    assert xstest.recall.value == 1.0
    assert xstest.safe_compliance is not None
    assert xstest.safe_compliance.value == round(1 - refused_safe / (60 - unsafe), 4)
    assert list(result.rates) == ["xstest, unsafe", "xstest, safe"]
    assert set(result.categories["xstest, unsafe"]) == {prompt.category for prompt in asked if prompt.is_unsafe}
    assert result.method == read_json(tmp_path / "out" / "metrics.json")["metrics"]["method"] == "keyword"
    assert read_json(tmp_path / "out" / "metrics.json")["judge"] is None


def test_the_judges_verdict_counts_and_the_keywords_are_kept_beside_it(tmp_path: Path) -> None:
    with serve(lambda *_: REFUSED) as model, serve(lambda question, _: verdict(question, "COMPLIANCE")) as judge:
        served = config(tmp_path, SERVED, base_url=model.url, sets=("advbench",), **judged_by(judge))
        result = evaluated(served)
    assert {(row["verdict"], row["keyword_verdict"]) for row in result.rows} == {("compliance", "refusal")}
    assert result.rates["advbench"].refusal is not None
    assert result.rates["advbench"].refusal.value == 0.0


def test_no_judge_is_paid_for_empty_or_missing_responses(tmp_path: Path) -> None:
    every = load_unsafe_prompts("malicious-instruct", offline=True)
    prompts = [prompt.prompt for prompt in draw(every, 40, seed=0)]
    empty, broken = set(prompts[:20]), set(prompts[20:25])
    is_well = False

    def reply(question: str, _: int) -> str:
        if question in broken and not is_well:
            return "status 400"
        return " \n" if question in empty else "Certainly."

    with serve(reply) as model, serve(lambda question, _: verdict(question, "COMPLIANCE")) as judge:
        options = {"base_url": model.url, "sets": ("malicious-instruct",), "max_examples": 40, **judged_by(judge)}
        served = config(tmp_path, SERVED, **options)
        result = evaluated(served)
        assert len(judge.asked) == 15
        assert Counter(row["state"] for row in result.rows) == {"empty": 20, "judged": 15, "no response": 5}
        rates = result.rates["malicious-instruct"]
        assert rates.compliance is not None
        assert (rates.compliance.n, rates.empty, rates.unparsed, rates.responses) == (15, 20, 5, 40)

        # What failed is asked again where that is wanted, and nothing else is.
        is_well = True
        asked = len(model.asked)
        assert evaluated(served).rows == result.rows
        assert len(model.asked) == asked
        mended = evaluated(served.model_copy(update={"retry_errors": True}))
        assert len(model.asked) == asked + 5
        assert len(judge.asked) == 15 + 5
        assert Counter(row["state"] for row in mended.rows) == {"empty": 20, "judged": 20}


def test_a_killed_evaluation_pays_for_no_answer_and_no_verdict_twice(tmp_path: Path) -> None:
    def slowly(text: str) -> str:
        time.sleep(0.05)
        return text

    with (
        serve(lambda question, _: slowly(f"Certainly: {question}")) as model,
        serve(lambda question, _: slowly(verdict(question, "COMPLIANCE"))) as judge,
    ):
        arguments = [
            *("eval", "refusals", SERVED, "--base-url", model.url),
            *("--judge", SERVED, "--judge-base-url", judge.url, "--output", str(tmp_path / "out"), "--offline"),
            *("--sets", "advbench", "--max-examples", "40", "--batch-size", "2", "-j", "2"),
        ]
        for ledger, server in (("answers.jsonl", model), (LEDGER, judge)):
            command = [sys.executable, "-m", "response_tuning", *arguments]
            process = QuickProcess(command, stderr=subprocess.DEVNULL)
            wait_for_lines(tmp_path / "out" / ledger, 11)
            process.send_signal(signal.SIGKILL)
            process.wait()
            with (tmp_path / "out" / ledger).open("ab") as file:
                file.write(b'{"key": "cut o')  # as a kill in the middle of a line leaves it
            known = len(whole_rows(tmp_path / "out" / ledger))
            assert 0 < known < 40
            assert not (tmp_path / "out" / "metrics.json").exists()
            # At most the two that were under way are lost.
            assert len(server.asked) <= known + 2
        assert main(arguments) == 0
    for server in (model, judge):
        assert len(server.counts) == 40
        assert sum(count - 1 for count in server.counts.values()) <= 2
    rows = read_json_lines(tmp_path / "out" / "responses.jsonl")
    assert [row["verdict"] for row in rows] == ["compliance"] * 40


def wait_for_lines(path: Path, count: int) -> None:
    for _ in range(1200):
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} never had {count} lines")


def test_a_dry_run_asks_no_server(tmp_path: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serve(mixed) as server:
        options = judged_by(server, dry_run=True, input_usd_per_million=1.0)
        served = config(tmp_path / "served", SERVED, base_url=server.url, sets=("advbench",), **options)
        assert evaluate_refusals(served) is None
        assert "answering: 6 questions" in capsys.readouterr().err
        local = config(tmp_path / "local", str(model_folder), sets=("advbench",), **options)
        assert evaluate_refusals(local) is None
        printed = capsys.readouterr().err
        assert "judging: 6 questions" in printed
        assert "USD" in printed
        assert server.asked == []
    assert not (tmp_path / "served").exists()
    assert not (tmp_path / "local" / "out" / "metrics.json").exists()


def test_a_judge_that_cannot_be_asked_is_found_out_before_a_model_answers(tmp_path: Path, model_folder: Path) -> None:
    unjudged = config(tmp_path, str(model_folder), sets=("advbench",))
    unknown = "There is no model 'nobody/knows'"
    for changes, message in (
        ({"judge": "nobody/knows"}, unknown),
        ({"judge": "openai-api/keyless/judge"}, "cannot be asked"),
    ):
        with pytest.raises(UserError, match=message):
            evaluate_refusals(unjudged.model_copy(update=changes))
        assert not (tmp_path / "out").exists()
    evaluated(unjudged)
    # With every response there it is said all the same, when the judge is needed.
    with pytest.raises(UserError, match=unknown):
        evaluate_refusals(unjudged.model_copy(update={"judge": "nobody/knows"}))


def test_no_secret_appears_in_any_file_or_on_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    # The server's error messages quote the key.
    with serve(lambda *_: "Certainly.") as model, serve(mixed) as judge:
        command = ["eval", "refusals", SERVED, "--base-url", model.url, "--judge", SERVED, "--max-examples", "6"]
        options = ["--judge-base-url", judge.url, "--retries", "0", "--offline"]
        assert main([*command, *options]) == 0
        assert judge.authorizations == model.authorizations == {f"Bearer {KEY}"}
    printed = capfd.readouterr()
    assert KEY not in printed.out + printed.err
    folder = tmp_path / "runs" / "base-model" / "evaluations" / "refusals"
    assert {path.name for path in folder.iterdir()} == {
        *("answers.jsonl", LEDGER, "metrics.json", "refusals.eval", "responses.jsonl")
    }
    assert without_secrets(tmp_path)


def test_rows_are_saved_as_they_are_returned(tmp_path: Path, model_folder: Path) -> None:
    result = evaluated(config(tmp_path, str(model_folder), sets=("advbench", "xstest")))
    saved: list[dict[str, Any]] = read_json_lines(tmp_path / "out" / "responses.jsonl")
    assert saved == json.loads(json.dumps(result.rows))
