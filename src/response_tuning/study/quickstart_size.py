"""How much of the starter data a quickstart takes, so that it ends in about a quarter of an hour."""

from response_tuning.data.sources.load_examples import STARTER_TEST, load_examples
from response_tuning.example import write_examples
from response_tuning.models.device import pick_device
from response_tuning.models.dtype import measure_rates
from response_tuning.study.study_config import QuickstartConfig
from response_tuning.support.configuration import changed, written_options
from response_tuning.support.options import EMBEDDED, STARTER
from response_tuning.support.progress import say

__all__ = ["SMALL_EXAMPLES", "SMALL_INSTRUCTIONS", "fixed_size", "training_data"]

SMALL_EXAMPLES, SMALL_INSTRUCTIONS = 160, 80
"""Of the small form: the first half of both starter sets, whose kinds of request take turns."""

_FULL_MINUTES_TIMES_GFLOPS = 24 * 136
"""The full form took 24 minutes where matmuls run at 136 GFLOP/s (docs/performance.md)."""
_MOST_MINUTES = 15


def fixed_size(config: QuickstartConfig) -> QuickstartConfig:
    """``config`` with a fixed ``size``: that of a quickstart that was begun, or what this machine has the time for.

    The small form is chosen only for the embedded model and the starter data, whose time is known.
    """
    if config.size != "auto":
        return config
    path = config.output / "config.yaml"
    if path.exists():  # without a size it is of a version that had the full form alone
        return changed(config, size=written_options(path).get("size", "auto"))
    if (config.model, config.data, config.held_out) != (EMBEDDED, STARTER, STARTER_TEST):
        return changed(config, size="full")
    minutes = _full_minutes()
    if minutes is None or minutes <= _MOST_MINUTES:
        return changed(config, size="full")
    say(
        f"This machine would take about {minutes:.0f} minutes for the full quickstart: it takes half of the data, for "
        f"training and for the test. --size full takes all of them."
    )
    return changed(config, size="small")


def training_data(config: QuickstartConfig) -> str:
    """The source of the training pairs; for the small form a file in the quickstart's folder, written once."""
    if config.size != "small":
        return config.data
    path = config.output / "data.jsonl"
    if not path.exists():
        write_examples(path, load_examples(config.data)[:SMALL_EXAMPLES])
    return str(path)


def _full_minutes() -> float | None:
    """About how long the full form takes here and now with one seed; None on a GPU, which is fast enough."""
    device = pick_device("auto")
    if device.type != "cpu":
        return None
    rates = measure_rates(device)  # not those of the cache, which may have been measured beside other work
    return _FULL_MINUTES_TIMES_GFLOPS / max(rates.bfloat16, rates.float32, 1.0)
