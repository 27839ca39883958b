"""The votes of a rating in other formats."""

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from response_tuning.evaluation.alpaca.alpaca_format import Annotation, write_annotations
from response_tuning.evaluation.shared.results import write_inspect_log
from response_tuning.people.judgements import identical_ties, judgements_of
from response_tuning.people.statistics.rates import joined_votes
from response_tuning.people.store import Store
from response_tuning.support.errors import UserError
from response_tuning.support.extras import require_extra
from response_tuning.support.files import make_folder, write_json, write_json_lines

__all__ = ["Format", "export_rating"]

Format = Literal["votes", "pairs", "alpaca-eval", "llm-comparator", "inspect"]

_CLEAR_WIN = 1.0
"""LLM Comparator's score of a clear win of the first response; it shows scores from -1.5 to 1.5."""


def export_rating(store: Store, output: Path, to: Format) -> list[Path]:
    """Write the votes of a rating; returns the files.

    votes: one a line, with the names of runs, levels and choices; flags and comments, too.
    pairs: ``prompt``, ``completion`` and ``rejected`` where raters on the whole prefer one side.
    alpaca-eval: annotations with ``preference`` from 1 (first run) to 2 (second), the mean of all raters, one file for
    each pair of runs.
    llm-comparator: the JSON of the viewer LLM Comparator, one file for each pair of runs.
    inspect: a log for ``inspect view``, one for each run.

    Raises:
        UserError: there is no vote, or no vote of the kind that the format has.
    """
    if to == "votes":
        return _write_lines(output, _votes(store), "The rating has no votes yet.")
    if to == "pairs":
        return _write_lines(output, _pairs(store), "No pair of responses has a preferred one yet.")
    if to == "inspect":
        return _write_logs(store, output)
    return _write_pairs_of_runs(store, output, to)


def _write_lines(output: Path, rows: list[dict[str, Any]], nothing: str) -> list[Path]:
    if not rows:
        raise UserError(nothing)
    write_json_lines(output, rows)
    return [output]


def _votes(store: Store) -> list[dict[str, Any]]:
    protocol, runs, prompts, responses = store.protocol, store.runs, store.prompts, store.responses
    found = store.rows(
        "SELECT a.prompt, a.rater, a.position, a.left_run, a.right_run, v.left_level, v.right_level, v.preference, "
        "v.flagged, v.comment, v.seconds, v.at FROM votes v JOIN assignments a ON a.id = v.assignment "
        "WHERE a.prompt IS NOT NULL ORDER BY a.rater, a.position"
    )
    rows = []
    for prompt, rater, position, left, right, left_level, right_level, choice, flagged, comment, seconds, at in found:
        names = [None if run is None else runs[run] for run in (left, right)]
        texts = [None if name is None else responses[prompt, name] for name in names]
        levels = [None if place is None else protocol.levels[place] for place in (left_level, right_level)]
        said = None if choice is None else protocol.preference[choice]
        rows.append(
            {
                "prompt": prompts[prompt],
                "rater": rater + 1,
                "position": position,
                **dict(zip(("left_run", "right_run"), names, strict=True)),
                **dict(zip(("left_response", "right_response"), texts, strict=True)),
                **{
                    f"{side}_level": level and level.name for side, level in zip(("left", "right"), levels, strict=True)
                },
                **{
                    f"{side}_acceptable": level and level.acceptable
                    for side, level in zip(("left", "right"), levels, strict=True)
                },
                "preference": said and said.name,
                "left_wins": said and said.left,
                "flagged": bool(flagged),
                "comment": comment,
                "seconds": seconds,
                "at": at,
            }
        )
    return rows


def _wins(store: Store, *, ties: bool) -> dict[tuple[int, str, str], list[float]]:
    """By prompt and pair of runs what each rater gives the first run; a tie of identical responses if wanted."""
    runs = store.runs
    wins: dict[tuple[int, str, str], list[float]] = {}
    for each in [*judgements_of(store), *(identical_ties(store) if ties else [])]:
        if each.left_wins is not None:
            first, second = sorted(each.runs, key=runs.index)
            wins.setdefault((int(each.prompt), first, second), []).append(each.wins(first))
    return dict(sorted(wins.items()))


def _pairs(store: Store) -> list[dict[str, Any]]:
    prompts, responses = store.prompts, store.responses
    rows = []
    for (prompt, first, second), votes in _wins(store, ties=False).items():
        mean = sum(votes) / len(votes)
        if mean != 0.5:
            better, worse = (first, second) if mean > 0.5 else (second, first)
            texts = {"completion": responses[prompt, better], "rejected": responses[prompt, worse]}
            rows.append({"prompt": prompts[prompt], **texts, "preference": max(mean, 1 - mean), "votes": len(votes)})
    return rows


def _write_pairs_of_runs(store: Store, output: Path, to: Format) -> list[Path]:
    prompts, responses, wins = store.prompts, store.responses, _wins(store, ties=True)
    if not wins:
        raise UserError("The rating has no preferences yet.")
    pairs = list(combinations(store.runs, 2))
    written = []
    for number, (first, second) in enumerate(pairs, start=1):
        of_pair = {prompt: votes for (prompt, *names), votes in wins.items() if names == [first, second]}
        if not of_pair:
            continue
        path = output if len(pairs) == 1 else output.with_stem(f"{output.stem}-{number}")
        texts = {prompt: (prompts[prompt], responses[prompt, first], responses[prompt, second]) for prompt in of_pair}
        if to == "alpaca-eval":
            write_annotations(path, [_annotation(first, second, texts[p], votes) for p, votes in of_pair.items()])
        else:
            write_json(path, _comparator(first, second, texts, of_pair))
        written.append(path)
    return written


def _annotation(first: str, second: str, texts: tuple[str, str, str], votes: list[float]) -> Annotation:
    instruction, one, other = texts
    return Annotation(
        instruction=instruction,
        output_1=one,
        generator_1=first,
        output_2=other,
        generator_2=second,
        annotator="people",
        preference=2 - sum(votes) / len(votes),
    )


def _comparator(
    first: str, second: str, texts: Mapping[int, tuple[str, str, str]], wins: Mapping[int, list[float]]
) -> dict[str, Any]:
    """The file of LLM Comparator: a positive score is for the first model."""

    def rating(won: float) -> dict[str, Any]:
        score = _CLEAR_WIN * (2 * won - 1)
        label = "A is better" if score > 0 else "B is better" if score < 0 else "Same"
        return {"score": score, "rating_label": label, "is_flipped": False, "rationale": ""}

    return {
        "metadata": {"source_path": "response-tuning", "custom_fields_schema": []},
        "models": [{"name": first}, {"name": second}],
        "examples": [
            {
                "input_text": texts[prompt][0],
                "tags": [],
                "output_text_a": texts[prompt][1],
                "output_text_b": texts[prompt][2],
                "score": _CLEAR_WIN * (2 * sum(votes) / len(votes) - 1),
                "individual_rater_scores": [rating(won) for won in votes],
                "custom_fields": {},
            }
            for prompt, votes in wins.items()
        ],
    }


def _write_logs(store: Store, output: Path) -> list[Path]:
    require_extra("inspect_ai", "inspect", purpose="A log of Inspect AI")
    prompts, responses, runs = store.prompts, store.responses, store.runs
    joined = joined_votes([*judgements_of(store), *identical_ties(store)], runs)
    if not joined.acceptable:
        raise UserError("The rating has no votes yet.")
    output = output if output.suffix in (".eval", ".json") else output.with_name(f"{output.name}.eval")
    make_folder(output.parent)
    written = []
    for number, run in enumerate(runs, start=1):
        rows = [
            {"prompt": text, "response": responses[prompt, run], "values": {"acceptable": accepted}}
            for prompt, text in prompts.items()
            if (accepted := joined.acceptable.get((str(prompt), run))) is not None
        ]
        if rows:
            path = output if len(runs) == 1 else output.with_stem(f"{output.stem}-{number}")
            write_inspect_log(path, "rating", run, rows)
            written.append(path)
    return written
