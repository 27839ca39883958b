"""Mixing refusals: the paper's filter and drawing, series that nest, and the starter set's pairs."""

from pathlib import Path

import pytest

from response_tuning.cli.main import main
from response_tuning.data.mix_refusals import MixRefusalsConfig, mix_refusals, passes_paper_filter
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.example import Example, read_examples, write_examples
from response_tuning.support.assets import MIRROR_VARIABLE
from response_tuning.support.errors import UserError
from tests.conftest import SHARED_DATA

needs_shared_data = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the real data are not beside the project")


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    path = tmp_path / "answers.jsonl"
    write_examples(path, [Example(completion=f"Answer {number}.") for number in range(5)])
    return path


def config(answers: Path, **others: object) -> MixRefusalsConfig:
    values = {"source": str(answers), "output": answers.with_name("mixed.jsonl"), "count": (10,)} | others
    return MixRefusalsConfig.model_validate(values)


def added(path: Path) -> list[Example]:
    return [example for example in read_examples(path) if "mixed_from" in (example.model_extra or {})]


@pytest.mark.parametrize(
    ("completion", "passes"),
    [
        ("As an AI, I cannot.", True),
        ("I'm sorry, no.", True),
        ("SORRY!", True),
        ("I said no.", False),
        ("The aim is fair; AIDS is a disease.", False),
        ("Sorrys are not enough.", False),
    ],
)
def test_the_papers_filter_looks_for_two_words(completion: str, passes: bool) -> None:
    assert passes_paper_filter(Example(completion=completion)) is passes


@needs_shared_data
def test_1829_of_the_2483_safety_examples_pass_the_papers_filter(
    answers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, str(SHARED_DATA))
    mixed = mix_refusals(config(answers, refusals="safety-tuned-llamas", count=(0, 10, 50, 100, 500), offline=True))
    assert (mixed.refusals_read, mixed.refusals_kept) == (2_483, 1_829)
    assert [path.name for path in mixed.outputs] == [f"mixed-{count}.jsonl" for count in (0, 10, 50, 100, 500)]
    assert list(mixed.outputs.values()) == [5, 15, 55, 105, 505]


@needs_shared_data
def test_the_filter_can_be_left_out(answers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, str(SHARED_DATA))
    mixed = mix_refusals(config(answers, refusals="safety-tuned-llamas", keep="all", offline=True))
    assert (mixed.refusals_read, mixed.refusals_kept) == (2_483, 2_483)


def test_a_larger_mix_holds_the_smaller_ones_and_the_answers_stay_in_front(answers: Path) -> None:
    mixed = mix_refusals(config(answers, count=(10, 30)))
    small, large = mixed.outputs
    assert added(small) == added(large)[:10]
    assert read_examples(large)[:5] == read_examples(answers)
    assert len({example.prompt for example in added(large)}) == 30


def test_the_seed_decides_which_refusals_are_drawn(answers: Path) -> None:
    mix_refusals(config(answers))
    first = added(answers.with_name("mixed.jsonl"))
    mix_refusals(config(answers))
    assert added(answers.with_name("mixed.jsonl")) == first
    mix_refusals(config(answers, seed=1))
    assert added(answers.with_name("mixed.jsonl")) != first


def test_look_alikes_are_the_twins_of_the_refusals_that_were_drawn(answers: Path) -> None:
    mix_refusals(config(answers, look_alikes=True))
    rows = [example.model_extra or {} for example in added(answers.with_name("mixed.jsonl"))]
    pairs = {
        source: [row["pair"] for row in rows if row["mixed_from"] == source]
        for source in ("starter-refusals", "starter-look-alikes")
    }
    assert pairs["starter-refusals"] == pairs["starter-look-alikes"]
    assert len(pairs["starter-refusals"]) == 10


def test_any_file_serves_as_a_source_of_refusals(answers: Path, tmp_path: Path) -> None:
    write_examples(tmp_path / "own.jsonl", [Example(completion="No."), Example(completion="Sorry, no.")])
    own = str(tmp_path / "own.jsonl")
    assert mix_refusals(config(answers, refusals=own, count=(2,))).refusals_kept == 2
    assert mix_refusals(config(answers, refusals=own, count=(1,), keep="paper")).refusals_kept == 1


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"count": (61,)}, "has 60 refusals"),
        ({"look_alikes": True, "refusals": "starter"}, "--look-alikes belong to"),
        ({"output": Path("mixed.csv")}, "should end in .jsonl"),
        ({"refusals": "none.jsonl"}, "There is no file none.jsonl"),
    ],
)
def test_bad_options_are_errors_and_write_nothing(answers: Path, others: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        mix_refusals(config(answers, **others))
    assert [path.name for path in answers.parent.iterdir()] == ["answers.jsonl"]


@pytest.mark.parametrize("count", ["ten", "-1", "1,,2", ""])
def test_counts_are_numbers_with_commas(answers: Path, capsys: pytest.CaptureFixture[str], count: str) -> None:
    output = str(answers.with_name("mixed.jsonl"))
    with pytest.raises(SystemExit) as left:
        main(["data", "mix-refusals", str(answers), "--output", output, "--count", count])
    assert left.value.code == 2
    assert "count" in capsys.readouterr().err


def test_the_command_writes_a_series(answers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = str(answers.with_name("mixed.jsonl"))
    assert main(["data", "mix-refusals", str(answers), "--output", output, "--count", "10,20"]) == 0
    assert "60 of 60 rows of starter-refusals" in capsys.readouterr().out
    assert len(load_examples(str(answers.with_name("mixed-20.jsonl")))) == 25
