"""Core capabilities through the lm-evaluation-harness: its tasks and metrics, with a model in its chat format.

How the harness and our chat format meet:

    prompts   the harness's text, rendered with the conversation's chat template and tokenized without adding anything,
              so the ids are those of ``Conversation.prompt_ids``. GSM8K's eight examples are earlier turns. MMLU's
              "The following are multiple choice questions ..." is a system turn, which the harness drops if the chat
              format has none.
    choices   follow the assistant header with the space that the format puts before a response (``Conversation.lead``)
    stops     generation ends at the conversation's stop tokens, and at the texts that a task names
    scores    log-softmax in fp32 (the harness's ``softmax_dtype=float32``), not rounded to the dtype of the weights

Results are saved task by task, so that an interrupted evaluation resumes with the missing tasks.
"""

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from response_tuning.conversation import Conversation
from response_tuning.evaluation.capabilities.capabilities_config import CoreConfig, CoreTask
from response_tuning.evaluation.capabilities.paper_means import ARC, MEAN_OF_SIX, add_paper_means
from response_tuning.evaluation.capabilities.task_data import (
    harness_tasks_folder,
    local_data_hash,
    write_local_tasks,
)
from response_tuning.evaluation.shared.answering import backend_of
from response_tuning.evaluation.shared.evaluate_unjudged import Measurement, evaluate_unjudged
from response_tuning.evaluation.shared.identity import result_settings
from response_tuning.evaluation.shared.statistics import Estimate, estimate_mean
from response_tuning.models.fingerprint import is_of_same_model
from response_tuning.runs.load import load_run
from response_tuning.runs.local import responder_of
from response_tuning.support.errors import UserError
from response_tuning.support.extras import require_extra
from response_tuning.support.files import read_json, write_json, write_json_lines
from response_tuning.support.progress import say

if TYPE_CHECKING:
    from lm_eval.api.task import Task
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

__all__ = ["CoreResult", "evaluate_core"]

_FEW_SHOT: dict[CoreTask, int] = {"gsm8k": 8, "gsm8k_cot_llama": 8}
"""Examples before the question; none for all other tasks (An & Kim 2024, section 4)."""
_TASK_FOLDERS = ("arc", "gsm8k", "hellaswag", "mmlu/default", "openbookqa", "piqa")
"""The harness's folders of the tasks; reading all fifteen thousand of its names would take five seconds."""


@dataclass(frozen=True)
class CoreResult:
    """Every metric of every task, group of subjects and subject, with the harness's own numbers."""

    metrics: dict[str, dict[str, Estimate]]
    """By the harness's names of task and metric; the filter follows a comma where a task has several."""
    harness: dict[str, dict[str, Any]]
    """The harness's results unchanged, with its standard errors."""
    prompts_cut: dict[str, int]
    """Per task, rows whose prompt was longer than the model's context and was truncated at its beginning."""
    rows: list[dict[str, Any]]
    """One per prompt of all tasks."""

    def summary(self, tasks: Sequence[str]) -> dict[str, Estimate]:
        """One estimate per metric of the given tasks, named ``task metric``."""
        named = {
            f"{task} {metric}": estimate
            for task in (*tasks, ARC)
            for metric, estimate in self.metrics.get(task, {}).items()
        }
        return named | self.metrics.get(MEAN_OF_SIX, {})


def evaluate_core(config: CoreConfig) -> CoreResult:
    """Run the tasks and save ``metrics.json``, and per task ``tasks/NAME.json`` and ``samples/NAME.jsonl``.

    ``samples.jsonl`` has a row per prompt of all tasks, with ``values`` per metric; ``samples/`` is what the harness
    saw; ``core.eval`` is for ``inspect view``.

    Raises:
        UserError: the harness is not installed, data are not available, or the model cannot be loaded.
    """
    require_extra("lm_eval", "core", purpose="This evaluation")
    settings = config.model_dump(mode="json", exclude={"output", "tasks"})
    return evaluate_unjudged(
        config,
        "core",
        measure=lambda folder: _measure(config, folder, settings),
        settings={**settings, "tasks": list(config.tasks)},
        rows_file="samples.jsonl",
    )


def _measure(config: CoreConfig, folder: Path, settings: dict[str, Any]) -> Measurement[CoreResult]:
    """Run the tasks that have no saved result yet. ``settings`` are those of each of them."""
    missing = [task for task in config.tasks if _saved(folder, task, settings, config.data_dir) is None]
    if missing:
        _run_tasks(config, missing, folder=folder, settings=settings)
    else:
        say(f"{folder} already holds these results.")
    saved: dict[str, dict[str, Any]] = {task: read_json(_result_path(folder, task)) for task in config.tasks}
    result = _joined(saved)
    first = next(iter(saved.values()))
    # Older results name no backend; all of it but the device is known from the settings.
    backend = {"backend": "transformers", "dtype": config.dtype, "format": first["format"]} | first.get("backend", {})
    facts = {
        "harness": result.harness,
        "prompts_cut": result.prompts_cut,
        "seconds": round(sum(task["seconds"] for task in saved.values()), 1),
    }
    return Measurement(result, backend, ("lm-eval",), facts)


def _result_path(folder: Path, task: str) -> Path:
    return folder / "tasks" / f"{task}.json"


def _saved(folder: Path, task: CoreTask, settings: dict[str, Any], data_folder: Path | None) -> dict[str, Any] | None:
    """The saved result of a task with these settings, the model's present weights and the present data."""
    path = _result_path(folder, task)
    if not path.exists():
        return None
    saved: dict[str, Any] = read_json(path)
    is_same_model = is_of_same_model(saved.get("backend", {}).get("fingerprint"), settings["model"])
    is_same = result_settings(saved["settings"]) == result_settings(settings)
    if data_folder is not None and "data_hash" in saved:  # files of older versions have none
        is_same = is_same and saved["data_hash"] == local_data_hash(task, data_folder)
    return saved if is_same and is_same_model and "rows" in saved else None


def _run_tasks(config: CoreConfig, tasks: Sequence[CoreTask], *, folder: Path, settings: dict[str, Any]) -> None:
    from response_tuning.evaluation.capabilities.harness_model import harness_model  # needs the extra

    with _quiet_harness():
        manager = _task_manager(config, folder)
        run = load_run(config.model, config.format, dtype=config.dtype, device=config.device)
        responder = responder_of(run, purpose="rt eval core")
        conversation = responder.conversation
        model = harness_model(responder, batch_size=config.batch_size)
        for task in tasks:
            say(f"{task}")
            started = time.perf_counter()
            result = _run_task(model, conversation, manager, task, config)
            write_json_lines(folder / "samples" / f"{task}.jsonl", result.pop("samples"))
            result |= {
                "settings": settings,
                **({} if config.data_dir is None else {"data_hash": local_data_hash(task, config.data_dir)}),
                "format": conversation.format_name,
                "backend": backend_of(run, dtype=config.dtype),
                "chat_template": model.tokenizer.chat_template,
                "seconds": round(time.perf_counter() - started, 1),
            }
            write_json(_result_path(folder, task), result)


@contextmanager
def _quiet_harness() -> Iterator[None]:
    """Mute warnings about intended settings, such as a number of examples that differs from the task's own."""
    from datasets.utils.logging import disable_progress_bar, enable_progress_bar

    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    disable_progress_bar()
    try:
        with nullcontext() if sys.stderr.isatty() else _without_bars():
            yield
    finally:
        logger.setLevel(level)
        enable_progress_bar()


@contextmanager
def _without_bars() -> Iterator[None]:
    """Let the harness draw no bars, which would fill a log file: it overrides tqdm's own switch."""
    from lm_eval.api import model as harness_models
    from lm_eval.models import huggingface

    modules: list[Any] = [harness_models, huggingface]
    drawn = [module.tqdm for module in modules]
    for module, bar in zip(modules, drawn, strict=True):
        module.tqdm = partial(_undrawn, bar)
    try:
        yield
    finally:
        for module, bar in zip(modules, drawn, strict=True):
            module.tqdm = bar


def _undrawn(bar: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    return bar(*arguments, **{**options, "disable": True})


def _task_manager(config: CoreConfig, folder: Path) -> "TaskManager":
    from lm_eval.tasks import TaskManager

    paths: list[str | Path] = [harness_tasks_folder() / name for name in _TASK_FOLDERS]
    if config.data_dir is not None:
        local = folder / "local_tasks"
        for note in write_local_tasks(config.tasks, config.data_dir, local):
            say(note)
        paths.append(local)
    return TaskManager(include_path=paths, include_defaults=False)


def _run_task(
    model: "HFLM", conversation: Conversation, manager: "TaskManager", task: CoreTask, config: CoreConfig
) -> dict[str, Any]:
    """One task: the harness's results and samples, our estimates, and the number of truncated prompts."""
    from lm_eval.evaluator import simple_evaluate

    loaded = _load_task(manager, task, config)
    leaves: dict[str, Task] = loaded["tasks"]
    scores_choices = all(leaf.OUTPUT_TYPE == "multiple_choice" for leaf in leaves.values())
    model.tokenizer.chat_template = _template(conversation, scores_choices=scores_choices)
    output: Any = simple_evaluate(
        model=model,
        tasks=[loaded["groups"].get(task) or leaves[task]],
        num_fewshot=_FEW_SHOT.get(task, 0),
        samples=_first_rows(leaves, config.max_examples),
        apply_chat_template=True,
        fewshot_as_multiturn=True,
        task_manager=manager,
    )
    samples: dict[str, list[dict[str, Any]]] = output["samples"]
    names = {name: _leaves_below(name, output["group_subtasks"]) for name in output["results"]}
    return {
        "metrics": {
            name: {
                metric: asdict(estimate) for metric, estimate in _estimates([samples[leaf] for leaf in below]).items()
            }
            for name, below in names.items()
        },
        "harness": output["results"],
        "prompts_cut": _count_cut_prompts(model, samples),
        "rows": [row for name, leaf in leaves.items() for row in _rows(task, leaf, samples.get(name, ()))],
        "samples": [_plain({"task": name, **sample}) for name, rows in samples.items() for sample in rows],
    }


def _load_task(manager: "TaskManager", task: CoreTask, config: CoreConfig) -> Any:
    """The task with its data: the harness's tasks by name, and its groups of them."""
    try:
        return manager.load([task])
    except Exception as error:  # the hub's clients raise many kinds, which change between versions
        if config.data_dir is not None:
            raise
        raise UserError(
            f"The data of {task} cannot be downloaded from the Hugging Face hub ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no reason given'}). "
            "Without network, give the published files with --data-dir."
        ) from error


def _template(conversation: Conversation, *, scores_choices: bool) -> str:
    """The chat template; before a choice, with the space that the format puts in front of a response.

    The harness scores a choice as the prompt's trailing white space and the choice, and tokenizes both together.
    """
    if not (scores_choices and conversation.lead):
        return conversation.chat_template
    lead = json.dumps(conversation.lead)
    return f"{conversation.chat_template}{{% if add_generation_prompt %}}{{{{ {lead} }}}}{{% endif %}}"


def _first_rows(tasks: Mapping[str, "Task"], max_examples: int | None) -> dict[str, list[int]] | None:
    """The rows to evaluate, by task: the first ones, the same number of each task, at least one."""
    if max_examples is None:
        return None
    sizes = {name: len(task.eval_docs) for name, task in tasks.items()}
    counts = dict.fromkeys(sizes, 1)
    left = min(max_examples, sum(sizes.values())) - len(counts)
    while left > 0:
        for name, size in sizes.items():
            if counts[name] < size and left > 0:
                counts[name] += 1
                left -= 1
    return {name: list(range(count)) for name, count in counts.items()}


def _leaves_below(name: str, children: Mapping[str, Sequence[str]]) -> list[str]:
    """The tasks of a group, including those of its subgroups; of a task, itself."""
    if name not in children:
        return [name]
    return [leaf for child in children[name] for leaf in _leaves_below(child, children)]


def _estimates(samples: Sequence[Sequence[dict[str, Any]]]) -> dict[str, Estimate]:
    """The metrics over all rows of some tasks: the harness's means weighted by size, with n and interval."""
    values: dict[str, list[float]] = {}
    for sample in (sample for rows in samples for sample in rows):
        for name, value in _values(sample).items():
            values.setdefault(name, []).append(value)
    return {name: estimate_mean(metric_values) for name, metric_values in values.items()}


def _values(sample: Mapping[str, Any]) -> dict[str, float]:
    """A sample's metrics by the harness's names; the filter follows a comma where a task has several."""
    suffix = "" if sample["filter"] == "none" else f",{sample['filter']}"
    return {f"{metric}{suffix}": float(sample[metric]) for metric in sample["metrics"]}


def _rows(task: CoreTask, leaf: "Task", samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per prompt: its text without the chat format, and the values of all filters."""
    rows: dict[int, dict[str, Any]] = {}
    for sample in samples:
        text = str(leaf.doc_to_text(sample["doc"]))
        row = rows.setdefault(
            sample["doc_id"], {"task": leaf.task_name, "prompt": text, "response": _response(sample), "values": {}}
        )
        row["values"] |= {f"{task} {metric}": value for metric, value in _values(sample).items()}
    return list(rows.values())


def _response(sample: Mapping[str, Any]) -> str:
    """What the model wrote, or its likeliest choice."""
    answers = [answer for (answer,) in sample["resps"]]
    if isinstance(answers[0], str):
        return answers[0]
    likelihoods = [float(likelihood) for likelihood, _ in answers]
    _, choice = sample["arguments"][likelihoods.index(max(likelihoods))]
    return str(choice).strip()


def _count_cut_prompts(model: "HFLM", samples: Mapping[str, Sequence[dict[str, Any]]]) -> int:
    """Rows that the harness truncated at the beginning because they are longer than the model's context."""
    cut = set()
    for name, rows in samples.items():
        for sample in rows:
            if any(_is_cut(model, *request) for request in sample["arguments"]):
                cut.add((name, sample["doc_id"]))
    return len(cut)


def _is_cut(model: "HFLM", context: str, continuation: str | dict[str, Any]) -> bool:
    if isinstance(continuation, str):
        # The last token is predicted and never read.
        tokens, limit = len(model.tok_encode(context + continuation)), int(model.max_length) + 1
    else:
        tokens = len(model.tok_encode(context))
        limit = int(model.max_length) - int(continuation.get("max_gen_toks", model.max_gen_toks))
    return tokens > limit


def _plain(sample: dict[str, Any]) -> dict[str, Any]:
    """A sample as JSON types."""
    plain: dict[str, Any] = json.loads(json.dumps(sample, default=str))
    return plain


def _joined(saved: Mapping[str, dict[str, Any]]) -> CoreResult:
    metrics = {
        name: {metric: Estimate(**estimate) for metric, estimate in estimates.items()}
        for task in saved.values()
        for name, estimates in task["metrics"].items()
    }
    harness = {name: values for task in saved.values() for name, values in task["harness"].items()}
    cut = {task: result["prompts_cut"] for task, result in saved.items()}
    for task, count in cut.items():
        if count:
            say(f"{task}: {count} prompts are longer than the model's context and were truncated at the beginning.")
    rows = [row for task_result in saved.values() for row in task_result["rows"]]
    return CoreResult({**metrics, **add_paper_means(rows)}, harness, cut, rows)
