"""The commands of ``rt rate``: let people rate, report what they said, export it."""

from typing import TYPE_CHECKING

from response_tuning.cli.command import Command, print_result
from response_tuning.support.progress import say

if TYPE_CHECKING:
    from response_tuning.people.rating_config import RateConfig, RateExportConfig, RateReportConfig

__all__ = ["RATE_COMMANDS"]

_CONFIGS = "response_tuning.people.rating_config"


def _rate(config: "RateConfig") -> None:
    from response_tuning.people.rate import prepare_rating
    from response_tuning.people.serve_rating import serve_rating

    store = prepare_rating(config)
    try:
        serve_rating(store, config)
    finally:
        store.close()


def _report(config: "RateReportConfig") -> None:
    from response_tuning.people.report import rating_summary, rating_tables, write_rating_report
    from response_tuning.people.store import open_store

    store = open_store(config.folder)
    summary = rating_summary(store)
    store.close()
    print_result(rating_tables(summary))
    say(f"The report: {write_rating_report(config.folder, summary)}")


def _export(config: "RateExportConfig") -> None:
    from response_tuning.people.export import export_rating
    from response_tuning.people.store import open_store

    store = open_store(config.folder)
    say(f"{export_rating(store, config.output, config.to):,} rows in {config.output}")
    store.close()


RATE_COMMANDS = (
    Command("rate", f"{_CONFIGS}:RateConfig", _rate, "Let people rate the responses of runs, blind, in their browsers"),
    Command("rate report", f"{_CONFIGS}:RateReportConfig", _report, "Report what the raters said, with intervals"),
    Command("rate export", f"{_CONFIGS}:RateExportConfig", _export, "Write the votes in other formats"),
)
"""The first is the command of the group itself."""
