"""What the command line shows: our log lines and bars on standard error, and libraries' own messages or not.

Importing this package changes nobody's logging. The command line calls ``set_up_terminal`` once before it runs a
command; so does each training worker process.
"""

import logging
import os
import re
import sys
import warnings
from contextlib import suppress
from typing import Literal

from response_tuning.support.progress import draw_bars, stderr_console
from response_tuning.support.secrets import hide_secrets

__all__ = ["VERBOSITY_VARIABLE", "Verbosity", "set_up_terminal"]

Verbosity = Literal["quiet", "normal", "verbose"]
"""quiet: warnings and errors, no bars. normal: progress as well. verbose: what libraries log as well."""

_PACKAGE = "response_tuning"
VERBOSITY_VARIABLE = "RESPONSE_TUNING_VERBOSITY"
"""Hands the verbosity on to worker processes."""
_LIBRARIES = ("bitsandbytes", "huggingface_hub", "inspect_ai", "peft", "torch", "transformers")
_MUTED = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
"""Read by the libraries when they are imported, which would take too long here."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def set_up_terminal(verbosity: Verbosity | None = None) -> None:
    """Print log lines to standard error, draw progress bars, and mute libraries, as ``verbosity`` says.

    Args:
        verbosity: defaults to that of the process that started this one, else "normal".
    """
    chosen: str = verbosity or os.environ.get(VERBOSITY_VARIABLE, "normal")
    os.environ[VERBOSITY_VARIABLE] = chosen
    draw_bars(chosen != "quiet")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # the bars of libraries would fill a log file
    root, ours = logging.getLogger(), logging.getLogger(_PACKAGE)
    for logger in (root, ours):
        for handler in [handler for handler in logger.handlers if isinstance(handler, _LineHandler)]:
            logger.removeHandler(handler)
    ours.setLevel(logging.WARNING if chosen == "quiet" else logging.INFO)
    if chosen == "verbose":
        root.addHandler(_LineHandler())
        root.setLevel(logging.INFO)
    else:
        ours.addHandler(_LineHandler())
        _mute_libraries()


def _mute_libraries() -> None:
    """Keep libraries' bars and advice out of our output; their errors still show."""
    for name, value in _MUTED.items():
        os.environ.setdefault(name, value)
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    if "transformers" in sys.modules:
        from transformers.utils import logging as transformers_logging

        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()


class _LineHandler(logging.Handler):
    """Prints a record as one unbroken line above the progress bar, so that a path in it can be copied and searched.

    Secrets and control characters in it, which servers and libraries may repeat, are replaced. A line that does not fit
    on a full disk is no reason to stop the work.
    """

    def emit(self, record: logging.LogRecord) -> None:
        ours = record.name.split(".")[0] == _PACKAGE
        message = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", hide_secrets(record.getMessage()))
        with suppress(OSError):
            stderr_console().print(message if ours else f"{record.name}: {message}", soft_wrap=True)
