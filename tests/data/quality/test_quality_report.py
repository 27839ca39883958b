"""The report on the terminal: all unreadable rows, and supervised tokens in colour."""

from pathlib import Path

from rich.console import Console

from response_tuning.data.quality.check import check
from response_tuning.data.quality.check_config import CheckConfig
from response_tuning.data.quality.findings import QualityReport
from response_tuning.data.quality.quality_report import print_report
from response_tuning.data.quality.token_lengths import ShownToken


def printed(report: QualityReport, *, colours: bool = False) -> str:
    console = Console(width=200, force_terminal=colours, color_system="standard" if colours else None, highlight=False)
    with console.capture() as capture:
        print_report(report, console)
    return capture.get()


def test_every_unreadable_row_is_printed_and_markup_in_data_is_only_text(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"completion": "fine"}\n' + "[/red] [bold]\n" * 30)
    text = printed(check(CheckConfig(source=str(path), model="none")))
    for number in range(2, 32):
        assert f"{path}:{number}: is not valid JSON" in text
    assert "[/red] [bold]" in text
    assert "31 rows, 1 good" in text


def test_supervised_tokens_are_coloured_and_the_prompt_is_dim(tmp_path: Path, model_folder: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "Why?", "completion": "Because."}\n')
    report = check(CheckConfig(source=str(path), model=str(model_folder), method="it"))
    text = printed(report, colours=True)
    assert "\x1b[2m" in text  # dim
    assert "\x1b[30;42m" in text  # black on green
    assert "supervised tokens per epoch" in text
    report.shown = [ShownToken(token.text, False) for token in report.shown]
    assert "\x1b[30;42m" not in printed(report, colours=True)
