"""The course of a judged evaluation, with two roles and templates from outside the package."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from response_tuning.evaluation.shared.answering import Answered
from response_tuning.evaluation.shared.evaluate_judged import Cases, Judged, Role, evaluate_judged
from response_tuning.evaluation.shared.evaluation_options import JudgedOptions
from response_tuning.evaluation.shared.judge import Case
from response_tuning.support.files import read_json, read_json_lines
from tests.evaluation.judges import SERVED, verdict
from tests.inference.faulty_server import FaultyServer, serve

OTHER = "openai-api/faulty/other"
PROMPTS = ["Name a river.", "Name a city."]


@dataclass(frozen=True)
class Result:
    """The rows, and how many a judge liked."""

    rows: list[dict[str, Any]]

    @property
    def metrics(self) -> dict[str, Any]:
        return {"liked": sum(row["values"].get("liked", 0.0) for row in self.rows)}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with the request to a judge."""
    folder = tmp_path / "installed" / "liking"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "like.txt").write_text("Do you like {{ response }}?\nEnd with VERDICT {{ code }}: YES or NO")
    monkeypatch.syspath_prepend(folder.parent)
    return "liking"


def options(tmp_path: Path, server: FaultyServer, **others: object) -> JudgedOptions:
    values = {"model": SERVED, "base_url": server.url, "judge_base_url": server.url, "output": tmp_path / "out"}
    return JudgedOptions.model_validate({**values, "retries": 0, **others})


def like(config: JudgedOptions, package: str, second: JudgedOptions | None = None) -> Result | None:
    kept: list[int] = []

    def cases(answered: Answered) -> Cases:
        assert kept == [2]  # before anything is judged
        return {number: Case("like", {"response": text}, package) for number, text in enumerate(answered.texts)}

    def parse(_: Case, payload: str) -> bool | None:
        return {"YES": True, "NO": False}.get(payload)

    def measure(answered: Answered, judged: Judged) -> Result:
        rows: list[dict[str, Any]] = []
        for number, (prompt, text) in enumerate(zip(PROMPTS, answered.texts, strict=True)):
            verdicts = {role: judgements[number].verdict for role, judgements in judged.items()}
            values = {"liked": float(all(verdicts.values()))} if verdicts else {}
            rows.append({"prompt": prompt, "response": text, "verdicts": verdicts, "values": values})
        return Result(rows)

    roles = (
        [Role(config, cases, parse)]
        if second is None
        else [
            Role(config, cases, parse, "first"),
            Role(second, cases, parse, "second"),
        ]
    )
    return evaluate_judged(
        config,
        "liking",
        PROMPTS,
        roles=roles,
        measure=measure,
        keep=lambda answered: kept.append(len(answered.responses)),
        judge=config.judge,
    )


def reply(question: str, _: int) -> str:
    if "VERDICT" not in question:
        return "The Rhine." if "river" in question else "Basel."
    return verdict(question, "YES" if "Rhine" in question else "NO")


def test_responses_are_judged_and_saved_and_no_verdict_is_paid_twice(tmp_path: Path, package: str) -> None:
    with serve(reply) as server:
        config = options(tmp_path, server, judge=SERVED)
        result = like(config, package)
        assert result is not None
        assert [row["verdicts"] for row in result.rows] == [{"": True}, {"": False}]
        asked = len(server.asked)
        assert like(config, package) == result
        assert len(server.asked) == asked == 4
    saved = read_json(tmp_path / "out" / "metrics.json")
    assert (saved["task"], saved["judge"], saved["metrics"]) == ("liking", SERVED, {"liked": 1.0})
    assert read_json_lines(tmp_path / "out" / "responses.jsonl") == result.rows
    assert (tmp_path / "out" / "judge-openai-api-faulty-model.jsonl").exists()


def test_without_a_judge_there_are_responses_and_no_verdicts(tmp_path: Path, package: str) -> None:
    with serve(reply) as server:
        result = like(options(tmp_path, server), package)
        assert len(server.asked) == 2
    assert result is not None
    assert [row["verdicts"] for row in result.rows] == [{}, {}]


def test_each_role_has_a_judge_and_a_folder_of_its_own(
    tmp_path: Path, package: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(reply) as server:
        config = options(tmp_path, server, judge=SERVED)
        result = like(config, package, config.model_copy(update={"judge": OTHER}))
        assert result is not None
        assert result.rows[0]["verdicts"] == {"first": True, "second": True}
        none = like(config, package, config.model_copy(update={"judge": None}))
        assert none is not None
        assert none.rows[0]["verdicts"] == {"first": True}
    assert (tmp_path / "out" / "first" / "judge-openai-api-faulty-model.jsonl").exists()
    assert (tmp_path / "out" / "second" / "judge-openai-api-faulty-other.jsonl").exists()
    assert "judging second:" in capsys.readouterr().err


def test_a_dry_run_keeps_the_responses_and_asks_no_judge(tmp_path: Path, package: str) -> None:
    with serve(reply) as server:
        like(options(tmp_path, server), package)
        asked = len(server.asked)
        (tmp_path / "out" / "metrics.json").unlink()
        assert like(options(tmp_path, server, judge=SERVED, dry_run=True), package) is None
        assert len(server.asked) == asked
    assert not (tmp_path / "out" / "metrics.json").exists()
