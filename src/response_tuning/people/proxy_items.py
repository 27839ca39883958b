"""What evaluations saved about the responses of a rating: their measures, and judges' preferences, matched by text."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from response_tuning.evaluation.alpaca.alpaca_format import Annotation, read_annotations
from response_tuning.evaluation.registry import evaluations
from response_tuning.evaluation.shared.prompt_values import rows_file
from response_tuning.people.statistics.proxies import Item, JudgeAgreement, Proxy, judge_agreement, measure_proxy
from response_tuning.people.statistics.rates import Joined
from response_tuning.runs.folder import evaluation_folder
from response_tuning.support.files import read_json_lines

__all__ = ["judges_of", "proxies_of"]

_FAULTS = ("loops", "copies")
"""Measures of which less is better."""
_CLOSE = 1e-9


def proxies_of(joined: Joined, prompts: Mapping[int, str], responses: Mapping[tuple[int, str], str]) -> list[Proxy]:
    """Every measure that an evaluation of a rated run saved for responses that people rated.

    Args:
        joined: What people say.
        prompts: By number, their text.
        responses: By number of the prompt and name of the run, the text that was rated.
    """
    items: dict[str, list[Item]] = defaultdict(list)
    numbers = {text: number for number, text in prompts.items()}
    for run in joined.runs:
        for evaluation, row in _rows_of(run):
            number = numbers.get(row.get("prompt", row.get("instruction", "")))
            accepted = joined.acceptable.get((str(number), run))
            if number is None or accepted is None or _text(row) != responses[number, run].strip():
                continue
            for measure, value in row["values"].items():
                if isinstance(value, int | float):
                    name, oriented = _oriented(f"{evaluation}: {measure}", measure, float(value))
                    items[name].append(Item(str(number), oriented, accepted))
    found = (measure_proxy(name, of) for name, of in items.items())
    return [proxy for proxy in found if proxy is not None]


def _oriented(name: str, measure: str, value: float) -> tuple[str, float]:
    """The measure so that more is better."""
    return (f"{name}, reversed", 1 - value) if measure.startswith(_FAULTS) else (name, value)


def _text(row: Mapping[str, Any]) -> str:
    return str(row.get("response", "")).strip()


def _rows_of(run: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every row of every evaluation of a run, with the evaluation's name."""
    for name in evaluations():
        file = rows_file(evaluation_folder(run, name))
        if file is not None:
            yield from ((name, row) for row in read_json_lines(file) if isinstance(row.get("values"), dict))


def judges_of(
    joined: Joined,
    prompts: Mapping[int, str],
    responses: Mapping[tuple[int, str], str],
    files: Sequence[Path] = (),
) -> list[JudgeAgreement]:
    """Judges' preferences between responses that people compared: of the runs' AlpacaEval, and of further files.

    Args:
        joined: What people say.
        prompts: As of ``proxies_of``.
        responses: As of ``proxies_of``.
        files: Annotations of alpaca_eval.

    Raises:
        UserError: a file cannot be read.
    """
    people = {}
    for (prompt, (first, second)), of in joined.preferences.items():
        texts = (prompts[int(prompt)], responses[int(prompt), first].strip(), responses[int(prompt), second].strip())
        best = [place for place in range(3) if of[place] >= max(of) - _CLOSE]
        if len(best) == 1:
            people[texts] = (prompt, best[0])
    own = (evaluation_folder(run, "alpaca") / "annotations.json" for run in joined.runs)
    verdicts: dict[str, list[tuple[str, int, int]]] = defaultdict(list)
    for path in [*files, *(path for path in own if path.is_file())]:
        for annotation in read_annotations(path):
            found = _matched(annotation, people)
            if found is not None:
                verdicts[annotation.annotator or path.name].append(found)
    compared = (judge_agreement(judge, pairs) for judge, pairs in verdicts.items())
    return [each for each in compared if each is not None]


def _matched(
    annotation: Annotation, people: Mapping[tuple[str, str, str], tuple[str, int]]
) -> tuple[str, int, int] | None:
    """The prompt, the judge's verdict and people's, in people's order of the two responses."""
    if annotation.model_preference is None:
        return None
    second_wins = annotation.model_preference
    verdict = 2 if second_wins > 0.5 else 0 if second_wins < 0.5 else 1
    one, other = annotation.output_1.strip(), annotation.output_2.strip()
    if (annotation.instruction, one, other) in people:
        prompt, said = people[annotation.instruction, one, other]
        return prompt, verdict, said
    if (annotation.instruction, other, one) in people:
        prompt, said = people[annotation.instruction, other, one]
        return prompt, 2 - verdict, said
    return None
