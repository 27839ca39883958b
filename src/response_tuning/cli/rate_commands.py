"""The commands of ``rt rate``: let people rate, report what they said, export it."""

from typing import TYPE_CHECKING

from response_tuning.cli.command import Command, print_result
from response_tuning.support.commands import command
from response_tuning.support.errors import UserError
from response_tuning.support.progress import say

if TYPE_CHECKING:
    from response_tuning.people.rating_config import RateConfig, RateExportConfig, RateReportConfig

__all__ = ["RATE_COMMANDS"]

_CONFIGS = "response_tuning.people.rating_config"


def _rate(config: "RateConfig") -> None:
    from response_tuning.people.rate import prepare_rating
    from response_tuning.people.web.serve_rating import require_to_serve, serve_rating

    if not config.prepare_only:
        require_to_serve()  # before hours of generating
    store = prepare_rating(config)
    try:
        if config.prepare_only:
            say(f"Serve it with: {command('rate', options={'output': config.output})}")
        else:
            serve_rating(store, config)
    finally:
        store.close()


def _report(config: "RateReportConfig") -> None:
    from response_tuning.people.report.evaluations import save_evaluations
    from response_tuning.people.report.files import write_rating_report
    from response_tuning.people.report.summary import rating_summary
    from response_tuning.people.report.tables import rating_tables
    from response_tuning.people.store import open_store

    store = open_store(config.folder)
    try:
        summary = rating_summary(store, join=config.join, annotations=config.annotations)
        if not summary.votes:
            raise UserError(f"{config.folder} has no votes yet.")
        print_result(rating_tables(summary))
        say(f"The report: {write_rating_report(config.folder, summary)}")
        for folder in save_evaluations(store, summary):
            say(f"For rt compare: {folder}")
    finally:
        store.close()


def _export(config: "RateExportConfig") -> None:
    from response_tuning.people.export import export_rating
    from response_tuning.people.store import open_store

    store = open_store(config.folder)
    try:
        for path in export_rating(store, config.output, config.to):
            say(f"Written: {path}")
    finally:
        store.close()


RATE_COMMANDS = (
    Command("rate", f"{_CONFIGS}:RateConfig", _rate, "Let people rate the responses of runs, blind, in their browsers"),
    Command("rate report", f"{_CONFIGS}:RateReportConfig", _report, "Report what the raters said, with intervals"),
    Command("rate export", f"{_CONFIGS}:RateExportConfig", _export, "Write the votes in other formats"),
)
"""The first is the command of the group itself."""
