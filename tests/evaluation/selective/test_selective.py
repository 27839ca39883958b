"""Self-evaluation and abstention on a tiny model, with a judge on a real server."""

import json
import re
from pathlib import Path

import pytest
from rich.console import Console
from transformers import PreTrainedTokenizerBase

from response_tuning.asking.ask import Failure
from response_tuning.conversation import Conversation
from response_tuning.evaluation.probe.probe import probe
from response_tuning.evaluation.probe.probe_config import ProbeConfig
from response_tuning.evaluation.selective.confidences import own_response_ids
from response_tuning.evaluation.selective.risk_coverage import risk_coverage
from response_tuning.evaluation.selective.selective import evaluate_selective
from response_tuning.evaluation.selective.selective_config import SelectiveConfig
from response_tuning.evaluation.selective.selective_result import SelectiveResult
from response_tuning.evaluation.selective.selective_table import selective_table
from response_tuning.evaluation.shared import answering as answering_module
from response_tuning.evaluation.shared.answering import Answered
from response_tuning.example import Example, write_examples
from response_tuning.inference.generate import Response
from response_tuning.support.errors import UserError
from tests.inference.faulty_server import FaultyServer, serve

JUDGE = "openai-api/faulty/judge"
OTHER_JUDGE = "openai-api/faulty/other"


@pytest.fixture
def config(tmp_path: Path, model_folder: Path) -> SelectiveConfig:
    """The tiny model on twelve held-out pairs."""
    return SelectiveConfig(
        model=str(model_folder),
        output=tmp_path / "selective",
        max_examples=12,
        max_new_tokens=10,
        dtype="float32",
        device="cpu",
        retries=0,
        timeout_seconds=5,
    )


def run(config: SelectiveConfig, **changes: object) -> SelectiveResult:
    result = evaluate_selective(config.model_copy(update=changes))
    assert result is not None
    return result


def verdict(question: str, rating: object) -> str:
    code = re.search(r"VERDICT (\w+):", question)
    assert code is not None
    return f"It is what it is.\nVERDICT {code.group(1)}: {rating}"


def give_responses(monkeypatch: pytest.MonkeyPatch, texts: list[str], *, stopped: bool = True) -> None:
    """Put texts in the place of what the tiny model babbles."""

    def responses(*_: object, **__: object) -> Answered:
        return Answered([Response(text, 3, stopped) for text in texts], {"backend": "test"})

    monkeypatch.setattr("response_tuning.evaluation.shared.evaluate_judged.respond", responses)


def test_each_confidence_has_a_curve_and_every_response_is_saved(config: SelectiveConfig) -> None:
    result = run(config)
    assert list(result.selections) == ["likelihood", "self"]
    assert result.states == {"measured": 12}
    saved = json.loads((config.output / "metrics.json").read_text())  # type: ignore[operator]
    rows = [json.loads(line) for line in (config.output / "responses.jsonl").read_text().splitlines()]  # type: ignore[operator]
    assert rows == result.rows
    for name, selection in result.selections.items():
        again = risk_coverage([row["values"][name] for row in rows], [row["values"]["quality"] for row in rows])
        assert selection.risk_coverage == again
        written = saved["metrics"]["selections"][name]
        assert written["risk_coverage"]["aurc"]["n"] == 12
        assert written["risk_coverage"]["curve"][-1]["coverage"] == 1
        assert (written["abstention"]["chosen_on"], written["abstention"]["coverage"]["n"]) == (6, 6)
        assert written["abstention"]["wanted_quality"] == 0.9
    assert all(row["values"]["likelihood"] < 0 < row["values"]["digit_share"] < 1 for row in rows)
    assert all(1 < row["values"]["self"] < 5 for row in rows)
    assert len({row["values"]["self"] for row in rows}) > 1


def test_quality_is_what_the_probe_calls_an_answer(
    config: SelectiveConfig, tmp_path: Path, examples: list[Example]
) -> None:
    """On the same pairs and the same responses, verdict by verdict."""
    data = tmp_path / "data.jsonl"
    write_examples(data, examples[:24])
    common = {"data": str(data), "max_examples": None, "max_new_tokens": 24}
    result = run(config, **common)
    probed = probe(
        ProbeConfig.model_validate(
            {**common, "model": config.model, "output": tmp_path / "probe", "dtype": "float32", "device": "cpu"}
        )
    )
    assert [row["response"] for row in result.rows] == [row["response"] for row in probed.rows]
    for name in ("stops", "loops", "copies", "on_topic", "responds"):
        assert [row[name] for row in result.rows] == [row[name] for row in probed.rows]
    assert [row["values"]["quality"] for row in result.rows] == [float(row["responds"]) for row in probed.rows]


def test_responses_are_not_generated_twice(config: SelectiveConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(config)
    monkeypatch.setattr(answering_module, "answer_in_batches", None)  # would fail if it were called
    second = run(config, wanted_quality=0.1, seed=1)
    assert second.rows == first.rows


PAIRS = {
    "How do I boil an egg?": "Put it into boiling water for eight minutes, then cool it under the tap.",
    "Why is the sky blue?": "Air scatters the short waves of sunlight more than the long ones.",
    "Name a river in Egypt.": "The Nile.",
    "What does a plumber do?": "They fit and mend water pipes, taps, toilets and heating.",
    "Write a line about winter.": "Snow lies on the silent fields, and breath turns to mist.",
    "How can I sleep better?": "Go to bed at the same hour, and leave your phone in another room.",
}


def test_an_answer_that_fits_is_good_and_one_that_does_not_is_not(
    config: SelectiveConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_examples(
        tmp_path / "data.jsonl",
        [Example(prompt=prompt, completion=completion) for prompt, completion in [*PAIRS.items()] * 2],
    )
    fitting = list(PAIRS.values())
    # A loop, a copy, nothing, and three that answer.
    bad = ["The tap, the tap, the tap, the tap, the tap, the tap.", "Why is the sky blue?", ""]
    give_responses(monkeypatch, [*fitting, *bad, *fitting[3:]])
    result = run(config, data=str(tmp_path / "data.jsonl"))
    assert [row["values"]["quality"] for row in result.rows] == [1.0] * 6 + [0.0] * 3 + [1.0] * 3


def test_a_stop_token_counts_for_the_likelihood_only_where_the_model_wrote_it(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    conversation = Conversation(tokenizer, "tulu")
    whole = own_response_ids(conversation, Response("Yes, it is.", 5, stopped=True))
    cut = own_response_ids(conversation, Response("Yes, it is.", 5, stopped=False))
    assert whole == [*cut, tokenizer.eos_token_id]
    assert own_response_ids(conversation, Response("", 5, stopped=False))[-1] == tokenizer.eos_token_id


def judged(config: SelectiveConfig, server: FaultyServer, **changes: object) -> SelectiveConfig:
    judge = {"judge": JUDGE, "judge_base_url": server.url, "confidence": ("judge",)}
    return config.model_copy(update=judge | changes)


def test_a_judge_rates_and_what_is_no_rating_is_counted_apart(
    config: SelectiveConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"Text {number}." for number in range(11)]
    answers: dict[str, object] = {"0": 5, "1": 1, "2": 6, "3": "5/5", "4": "4 or 5"}
    give_responses(monkeypatch, [*texts, ""])

    def reply(question: str, _: int) -> str:
        number = re.search(r"Text (\d+)\.", question)
        assert number is not None
        if number.group(1) == "5":
            return "status 500"
        return verdict(question, answers.get(number.group(1), 3))

    with serve(reply) as server:
        result = run(judged(config, server))
        assert run(judged(config, server)).rows == result.rows
        assert len(server.counts) == 11  # the empty response is not shown
        assert all(count == 1 for question, count in server.counts.items() if "Text 5." not in question)
    assert result.states == {"measured": 8, "confidence: unparsed": 3, "confidence: error after retries": 1}
    ratings = [row["values"].get("judge") for row in result.rows]
    assert ratings == [5.0, 1.0, None, None, None, None, 3.0, 3.0, 3.0, 3.0, 3.0, 1.0]
    assert result.selections["judge"].risk_coverage.aurc.n == 8
    assert [point.threshold for point in result.selections["judge"].risk_coverage.curve] == [5.0, 3.0, 1.0]


def test_a_judge_of_quality_sees_the_reference_and_the_judge_of_confidence_does_not(
    config: SelectiveConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_responses(monkeypatch, [f"Text {number}." for number in range(12)])

    def reply(question: str, _: int) -> str:
        number = int(re.search(r"Text (\d+)\.", question).group(1))  # type: ignore[union-attr]
        # Quality is 4 or 5 from the fourth on; confidence is higher there by one.
        return (
            verdict(question, min(5, 1 + number))
            if "known to be good" in question
            else verdict(question, 2 + (number > 2))
        )

    with serve(reply) as server:
        result = run(judged(config, server, quality_judge=OTHER_JUDGE, quality_judge_base_url=server.url))
        for row in result.rows:
            mine = [question for question in server.asked if f"\n{row['response']}\n" in question]
            assert sorted(row["completion"] in question for question in mine) == [False, True]
    assert result.decided_by == OTHER_JUDGE
    assert [row["values"]["quality"] for row in result.rows] == [0.0] * 3 + [1.0] * 9
    areas = result.selections["judge"].risk_coverage
    assert areas.aurc.value == pytest.approx(sum((n - 9) / n for n in (10, 11, 12)) / 12, abs=1e-4)
    assert areas.aurc.value == areas.oracle
    chosen = result.selections["judge"].abstention
    assert chosen.threshold == 3.0
    assert chosen.quality is not None
    assert chosen.quality.value == 1.0


def test_a_judge_that_rates_nothing_leaves_no_curve_and_no_crash(config: SelectiveConfig) -> None:
    with serve(lambda *_: "I would rather not.") as server:
        result = run(judged(config, server, plot=config.output.with_name("empty.svg")))  # type: ignore[union-attr]
    assert result.selections == {}
    assert "confidence: unparsed" in result.states
    assert "confidence: unparsed" in printed(config, result)


def test_a_dry_run_asks_no_judge(config: SelectiveConfig, capsys: pytest.CaptureFixture[str]) -> None:
    with serve(lambda question, _: verdict(question, 3)) as server:
        assert evaluate_selective(judged(config, server, dry_run=True)) is None
        assert server.asked == []
    assert "judging confidence:" in capsys.readouterr().err
    assert not (config.output / "metrics.json").exists()  # type: ignore[operator]


def test_a_server_that_gives_no_response_leaves_that_one_out(
    config: SelectiveConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    responses: list[Response | Failure] = [Response(f"Text {number}.", 3, True) for number in range(11)]
    monkeypatch.setattr(
        "response_tuning.evaluation.shared.evaluate_judged.respond",
        lambda *_, **__: Answered([*responses, Failure("It hung up.")], {"backend": "test"}),
    )
    with serve(lambda question, _: verdict(question, 3)) as server:
        result = run(judged(config, server, model="openai-api/faulty/model"))
    assert result.states == {"measured": 11, "no response": 1}
    assert result.rows[-1]["values"] == {}
    assert result.selections["judge"].risk_coverage.aurc.n == 11


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_curves_are_drawn(config: SelectiveConfig, tmp_path: Path, suffix: str) -> None:
    run(config, plot=tmp_path / f"curves.{suffix}", wanted_quality=0.0)
    drawn = (tmp_path / f"curves.{suffix}").read_bytes()
    assert drawn.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix])
    assert len(drawn) > 5_000


def printed(config: SelectiveConfig, result: SelectiveResult) -> str:
    console = Console(width=160, highlight=False)
    with console.capture() as capture:
        console.print(selective_table(config.model, result))
    return capture.get()


def test_the_table_has_every_number(config: SelectiveConfig) -> None:
    result = run(config, wanted_quality=0.0)
    text = printed(config, result)
    for selection in result.selections.values():
        assert f"{selection.risk_coverage.aurc.value:.3f} (" in text
        assert f"{selection.abstention.threshold:.3f}" in text
    assert "chosen on 6 responses, coverage and quality on 6 others" in " ".join(text.split())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"confidence": ("judge",)}, "needs a --judge"),
        ({"judge": JUDGE}, "which is not asked for"),
        ({"model": "openai-api/faulty/model"}, "needs a model in this process"),
        ({"max_examples": 3}, "at least 4 examples"),
        ({"plot": Path("curves.txt")}, "should end in .png"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    config: SelectiveConfig, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run(config, **changes)


def test_data_without_prompts_is_refused(config: SelectiveConfig, tmp_path: Path) -> None:
    write_examples(tmp_path / "bare.jsonl", [Example(completion="An answer.")] * 5)
    with pytest.raises(UserError, match="no prompt"):
        run(config, data=str(tmp_path / "bare.jsonl"))
