"""IFEval: the harness's verdicts, what is counted, and what is kept."""

import json
import random
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import langdetect
import pytest
from inspect_ai.log import read_eval_log
from rich.table import Table

from response_tuning.evaluation.ifeval import ifeval as ifeval_module
from response_tuning.evaluation.ifeval.ifeval import (
    _SENTENCE_CHECKS,
    IfevalPrompt,
    check_responses,
    evaluate_ifeval,
    load_prompts,
    sentences_available,
)
from response_tuning.evaluation.ifeval.ifeval_config import IfevalConfig
from response_tuning.evaluation.ifeval.ifeval_entry import IFEVAL
from response_tuning.evaluation.ifeval.sentence_data import provide_sentence_data
from response_tuning.evaluation.shared import answering as answering_module
from response_tuning.inference.generate import Response
from response_tuning.runs.local import answer_in_batches
from response_tuning.support.assets import MIRROR_VARIABLE
from response_tuning.support.errors import UserError
from tests.conftest import SHARED_DATA

TEXTS = [
    "all of this is written in small letters, and it names no one. p.s. thank you for reading it to the end.",
    "EVERYTHING HERE IS SAID LOUDLY AND CLEARLY. THERE IS NO OTHER WAY TO SAY SUCH A THING.",
    '"The whole answer stands between quotation marks and has not one comma in it"',
    "<<A Title>>\n\n* first point\n* second point\n* third point\n\nP.S. This came later.",
    '```json\n{"name": "river", "length": 12}\n```',
    "Here is the answer:\n\n*one part* and *another part* and *a third part*\n\nIs there anything else?",
    "First paragraph.\n***\nSecond paragraph.\n***\nThird paragraph with [name] and [address] and [date].",
    "My answer is yes.",
    "SECTION 1\nThe beginning.\nSECTION 2\nThe middle.\nSECTION 3\nThe end.",
    "******\nDie Antwort steht hier auf Deutsch und ist nicht besonders lang.\n******",
    "word " * 320,
    "",
]


def prompt(*checks: tuple[str, dict[str, Any]], key: int = 1) -> IfevalPrompt:
    return IfevalPrompt(key, "Do as told.", [name for name, _ in checks], [arguments for _, arguments in checks])


def answer(text: str) -> Response:
    return Response(text, len(text.split()), stopped=True)


NO_COMMA: tuple[str, dict[str, Any]] = ("punctuation:no_comma", {})
YES = ("keywords:existence", {"keywords": ["yes"]})
SENTENCES = ("length_constraints:number_sentences", {"relation": "at least", "num_sentences": 1})


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[IfevalPrompt]:
    """The 541 prompts, where somebody has put them."""
    if not (SHARED_DATA / "ifeval").is_dir():
        pytest.skip(f"the published prompts are not in {SHARED_DATA}")
    monkeypatch.setenv(MIRROR_VARIABLE, str(SHARED_DATA))
    return load_prompts(offline=True)


@pytest.fixture
def config(tmp_path: Path, model_folder: Path, published: list[IfevalPrompt]) -> IfevalConfig:
    assert published
    return IfevalConfig(
        model=str(model_folder),
        output=tmp_path / "ifeval",
        max_examples=8,
        max_new_tokens=6,
        format="tulu",
        batch_size=3,
        offline=True,
        dtype="float32",
        device="cpu",
    )


def test_prompts_and_instructions_are_counted_apart() -> None:
    prompts = [prompt(NO_COMMA, YES), prompt(NO_COMMA), prompt(NO_COMMA, YES)]
    result = check_responses(prompts, [answer("yes"), answer("a, b"), answer("no")])
    assert [row["strict"] for row in result.rows] == [[True, True], [False], [True, False]]
    assert result.metrics["prompt_level_strict_acc"].value == round(1 / 3, 4)
    assert result.metrics["inst_level_strict_acc"].value == round(3 / 5, 4)
    assert {estimate.n for estimate in result.metrics.values()} == {3}
    assert result.rows[2]["values"]["prompt_level_strict_acc"] == 0.0
    assert result.rows[2]["values"]["inst_level_strict_acc"] == [1, 2]
    assert set(result.rows[2]["values"]) == set(result.metrics)


def test_a_loose_verdict_forgives_a_first_line_and_a_strict_one_does_not() -> None:
    result = check_responses([prompt(NO_COMMA)], [answer("Sure, here it is:\nNo comma here")])
    assert result.metrics["prompt_level_strict_acc"].value == 0
    assert result.metrics["prompt_level_loose_acc"].value == 1


def test_prompts_that_cannot_be_checked_are_left_out_at_both_levels_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ifeval_module, "sentences_available", lambda: False)
    prompts = [prompt(NO_COMMA, key=7), prompt(NO_COMMA, SENTENCES, key=1234)]
    result = check_responses(prompts, [answer("fine"), answer("fine")])
    assert result.not_counted == [1234]
    assert [row["strict"] for row in result.rows] == [[True], []]
    assert result.rows[1]["values"] == {}
    assert {estimate.n for estimate in result.metrics.values()} == {1}
    assert "1 of 2 prompts are not counted" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(UserError, match="punkt_tab"):
        check_responses(prompts[1:], [answer("fine")])


def test_verdicts_are_the_harnesss_own_on_a_hundred_responses(published: list[IfevalPrompt]) -> None:
    from lm_eval.tasks.ifeval.utils import (
        InputExample,
        test_instruction_following_loose,
        test_instruction_following_strict,
    )

    prompts = [item for item in published if _SENTENCE_CHECKS.isdisjoint(item.instruction_id_list)][:100]
    texts = [*islice(cycle(TEXTS), len(prompts))]
    rows = check_responses(prompts, [answer(text) for text in texts]).rows
    assert len(rows) == 100
    langdetect.DetectorFactory.seed = 0
    assert 1122 in [item.key for item in prompts]  # whose check counts a random letter
    for row, item, text in zip(rows, prompts, texts, strict=True):
        example = InputExample(item.key, item.instruction_id_list, item.prompt, item.kwargs)
        assert row["counted"]
        random.seed(item.key)
        assert row["strict"] == test_instruction_following_strict(example, text).follow_instruction_list
        assert row["loose"] == test_instruction_following_loose(example, text).follow_instruction_list
    strict, loose = ([verdict for row in rows for verdict in row[name]] for name in ("strict", "loose"))
    assert 0.1 < sum(strict) / len(strict) < 0.9
    assert sum(loose) > sum(strict)


def test_verdicts_are_the_same_every_time_and_leave_the_random_numbers_alone() -> None:
    any_letter = prompt(("keywords:letter_frequency", {"let_relation": "at least", "letter": "#", "let_frequency": 4}))
    random.seed(3)
    expected = random.random()
    random.seed(3)
    rows = [check_responses([any_letter], [answer("It is as it has always been here.")]).rows for _ in range(20)]
    assert all(row == rows[0] for row in rows)
    assert random.random() == expected


def test_the_checks_that_need_sentences_are_those_that_fail_without_them(published: list[IfevalPrompt]) -> None:
    if sentences_available():
        pytest.skip("NLTK's data punkt_tab is here")
    failing, seen = set(), set()
    for item in published:
        for name, arguments in zip(item.instruction_id_list, item.kwargs, strict=True):
            seen.add(name)
            try:
                ifeval_module._verdicts(IfevalPrompt(item.key, item.prompt, [name], [arguments]), "It is so. AND MORE.")
            except LookupError:
                failing.add(name)
    assert len(seen) == 25
    assert failing == _SENTENCE_CHECKS


def test_every_prompt_and_verdict_is_saved_with_what_is_not_counted(config: IfevalConfig) -> None:
    result = evaluate_ifeval(config)
    saved = json.loads((config.output / "metrics.json").read_text())  # type: ignore[operator]
    assert saved["prompts"] == 8
    assert saved["prompts_not_counted"] == result.not_counted
    assert saved["metrics"]["prompt_level_strict_acc"]["n"] == 8 - len(result.not_counted)
    assert list(saved["metrics"]) == [
        f"{level}_level_{kind}_acc" for kind in ("strict", "loose") for level in ("prompt", "inst")
    ]
    rows = [json.loads(line) for line in (config.output / "responses.jsonl").read_text().splitlines()]  # type: ignore[operator]
    assert rows == result.rows
    assert max(row["token_count"] for row in rows) <= 6
    assert (saved["task"], saved["judge"], saved["backend"]) == ("ifeval", None, "transformers")
    assert {"lm-eval", "langdetect", "nltk", "torch"} <= saved["versions"].keys()
    log = read_eval_log(str(config.output / "ifeval.eval"))  # type: ignore[operator]
    assert [sample.output.completion for sample in log.samples or ()] == [row["response"] for row in rows]


def test_a_finished_evaluation_is_read_and_not_done_again(
    config: IfevalConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluate_ifeval(config)
    monkeypatch.setattr(answering_module, "load_run", None)  # would fail if it were called
    assert evaluate_ifeval(config) == first


def test_with_sentences_there_since_the_verdicts_are_made_anew_of_the_same_responses(
    config: IfevalConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sentences_available():
        pytest.skip("NLTK's data punkt_tab is here")
    first = evaluate_ifeval(config)
    monkeypatch.setattr(answering_module, "answer_in_batches", lambda *_, **__: iter(()))
    path = config.output / "metrics.json"  # type: ignore[operator]
    path.write_text(path.read_text().replace('"sentences_available": false', '"sentences_available": true'))
    assert evaluate_ifeval(config) == first
    assert '"sentences_available": false' in path.read_text()


def test_an_interrupted_evaluation_keeps_its_responses(config: IfevalConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate_ifeval(config.model_copy(update={"output": config.output.with_name("whole")}))  # type: ignore[union-attr]
    asked: list[int] = []

    def interrupted(*arguments: Any, **options: Any):  # type: ignore[no-untyped-def]
        yield next(answer_in_batches(*arguments, **options))
        raise KeyboardInterrupt

    def counted(*arguments: Any, **options: Any):  # type: ignore[no-untyped-def]
        asked.append(len(arguments[1]))
        yield from answer_in_batches(*arguments, **options)

    monkeypatch.setattr(answering_module, "answer_in_batches", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate_ifeval(config)
    partial = config.output / "generations.jsonl"  # type: ignore[operator]
    partial.write_text(partial.read_text() + '{"key": "0123", "te')  # killed in the middle of a line
    monkeypatch.setattr(answering_module, "answer_in_batches", counted)
    assert evaluate_ifeval(config) == whole
    assert asked == [8 - 3]
    begun, maker, *rows = map(json.loads, partial.read_text().splitlines())
    assert begun.keys() == {"identity"}
    assert maker["backend"]["device"] == "cpu"
    assert len({row["key"] for row in rows}) == len(rows) == 8


def test_a_cut_off_prompt_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ifeval").mkdir()
    (tmp_path / "ifeval" / "input_data.jsonl").write_text("{}\n")
    monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path))
    with pytest.raises(UserError, match="is not the file"):
        load_prompts(offline=True)


def test_sentences_are_split_without_a_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("nltk.data.path", [])
    provide_sentence_data()
    from nltk.tokenize import PunktTokenizer

    text = "Dr. Ames met Mr. Poe at 5 p.m. on Sunday. They talked. It was late."
    assert len(PunktTokenizer("english").tokenize(text)) == 3
    # Tables of the published punkt_tab: abbreviations, sentence starters, collocations, orthographic contexts.
    folder = tmp_path / "response-tuning" / "assets" / "nltk_data" / "tokenizers" / "punkt_tab" / "english"
    lines = {path.name: len(path.read_text(encoding="utf-8").split("\n")) for path in folder.iterdir()}
    assert lines == {
        "abbrev_types.txt": 156,
        "sent_starters.txt": 39,
        "collocations.tab": 37,
        "ortho_context.tab": 20_366,
    }


def test_prompts_that_are_left_out_are_named_beside_the_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ifeval_module, "sentences_available", lambda: False)
    result = check_responses([prompt(NO_COMMA), prompt(SENTENCES)], [answer("fine"), answer("fine")])
    table = IFEVAL.table(IfevalConfig(model="m"), result)
    assert isinstance(table, Table)
    caption = str(table.caption)
    assert "1 of IFEval's 541 prompts" in caption
    assert "1 prompts are left out" in caption
