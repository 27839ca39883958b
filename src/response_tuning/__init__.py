"""Response tuning: fine-tune base language models on responses alone, and measure what instructions are worth.

    import response_tuning as rt

    run = rt.train(rt.TrainingConfig(output="runs/mine", data="answers.jsonl"))
    tuned = rt.load_run("runs/mine")
    print(tuned.generate(["Why is the sky blue?"])[0].text)
    print(rt.evaluate("probe", "runs/mine"))

Each name is imported when it is first used, so that importing this package loads no model library. Nothing is printed
unless the importing program configures the logger ``response_tuning``.
"""

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from response_tuning.conversation import Conversation
    from response_tuning.evaluation.evaluate import evaluate
    from response_tuning.example import Example, read_examples
    from response_tuning.export.trl_dataset import to_trl
    from response_tuning.runs.load import load_run
    from response_tuning.support.errors import UserError
    from response_tuning.training.trainer import train
    from response_tuning.training.training_config import TrainingConfig

__all__ = [
    "Conversation",
    "Example",
    "TrainingConfig",
    "UserError",
    "evaluate",
    "load_run",
    "read_examples",
    "to_trl",
    "train",
]

_MODULES = {
    "Conversation": "response_tuning.conversation",
    "Example": "response_tuning.example",
    "TrainingConfig": "response_tuning.training.training_config",
    "UserError": "response_tuning.support.errors",
    "evaluate": "response_tuning.evaluation.evaluate",
    "load_run": "response_tuning.runs.load",
    "read_examples": "response_tuning.example",
    "to_trl": "response_tuning.export.trl_dataset",
    "train": "response_tuning.training.trainer",
}
"""Where each name of the public API is imported from; the imports above are the same for type checkers."""

logging.getLogger("response_tuning").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("response-tuning")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value  # the next access is an ordinary one
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
