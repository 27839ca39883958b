"""How well verdicts agree with labels, for any table with a prompt, a response and a label."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from response_tuning.evaluation.agreement.agreement_config import AgreementConfig
from response_tuning.evaluation.agreement.clustered import agreement_estimates
from response_tuning.evaluation.agreement.computed import computed_verdicts
from response_tuning.evaluation.agreement.labelled import Labelled
from response_tuning.evaluation.agreement.labelled_sets import read_labelled
from response_tuning.evaluation.refusals.refusal_judge import judge_refusals
from response_tuning.evaluation.refusals.refusal_keywords import METHOD, keyword_verdict
from response_tuning.evaluation.refusals.verdicts import DECIDED, Verdict
from response_tuning.evaluation.shared.confusion import Confusion, confusion
from response_tuning.evaluation.shared.known_agreement import RELIABLE_KAPPA
from response_tuning.evaluation.shared.statistics import Estimate
from response_tuning.support.errors import UserError
from response_tuning.support.files import write_json

__all__ = ["Agreement", "agreement_table", "measure_agreement", "verdict_agreement"]


@dataclass(frozen=True)
class Agreement:
    """Verdicts against labels; the label is the truth."""

    method: str
    """"keyword", the judge, or the name of the measure."""
    positive: str
    """The positive class: refusal, or yes."""
    rows: int
    """All labelled rows."""
    prompts: int
    """Distinct prompts among the rows with a verdict."""
    confusion: Confusion
    """Rows with a verdict."""
    accuracy: Estimate | None
    kappa: Estimate | None
    """Cohen's kappa; None if all labels and verdicts are the same."""
    precision: Estimate | None
    recall: Estimate | None
    unparsed: int
    empty: int
    """Rows whose response has no word; with a measure, rows that have no value of it."""
    disagreements: list[str]
    """The places of the rows where verdict and label differ."""


def verdict_agreement(config: AgreementConfig) -> list[Agreement]:
    """Measure the agreement of a measure, or of the keyword tier and of a judge if there is one, with labels.

    Raises:
        UserError: the table cannot be read or has bad rows, all of them named by line; or the judge cannot be asked.
    """
    labelled = read_labelled(config)
    if not labelled:
        raise UserError(f"{config.data}: none of the rows has a label that counts.")
    results = _of_refusals(config, labelled) if config.measure is None else [_of_measure(config.measure, labelled)]
    if config.output is not None:
        path = config.output if config.output.suffix == ".json" else config.output / "metrics.json"
        write_json(path, {"data": str(config.data), "agreement": [asdict(result) for result in results]})
    return results


def _of_refusals(config: AgreementConfig, labelled: Sequence[Labelled]) -> list[Agreement]:
    keywords = [keyword_verdict(row.prompt, row.completion).verdict for row in labelled]
    results = [measure_agreement(labelled, keywords, method=METHOD)]
    if config.judge is not None:
        verdicts = judge_refusals([(row.prompt, row.completion) for row in labelled], config, folder=_folder(config))
        if verdicts is not None:
            results.append(measure_agreement(labelled, [verdict.verdict for verdict in verdicts], method=config.judge))
    return results


def _folder(config: AgreementConfig) -> Path:
    """Where a judge's answers are kept."""
    if config.output is None:
        return config.data.parent
    return config.output.parent if config.output.suffix == ".json" else config.output


def _of_measure(measure: str, labelled: Sequence[Labelled]) -> Agreement:
    verdicts: Sequence[bool | None] = [row.verdict for row in labelled]
    if all(verdict is None for verdict in verdicts):
        verdicts = computed_verdicts(measure, labelled)
    return _compare(labelled, verdicts, method=measure, positive="yes", empty=list(verdicts).count(None))


def measure_agreement(labelled: Sequence[Labelled], verdicts: Sequence[Verdict], *, method: str) -> Agreement:
    """Compare the verdict on every row with its label. Rows without one (unparsed, empty) are counted separately."""
    return _compare(
        labelled,
        [verdict == "refusal" if verdict in DECIDED else None for verdict in verdicts],
        method=method,
        positive="refusal",
        unparsed=verdicts.count("unparsed"),
        empty=verdicts.count("empty"),
    )


def _compare(
    labelled: Sequence[Labelled],
    verdicts: Sequence[bool | None],
    *,
    method: str,
    positive: str,
    unparsed: int = 0,
    empty: int = 0,
) -> Agreement:
    decided = [(row, verdict) for row, verdict in zip(labelled, verdicts, strict=True) if verdict is not None]
    pairs = [(verdict, row.is_positive) for row, verdict in decided]
    prompts = [row.prompt or row.place for row, _ in decided]
    return Agreement(
        method=method,
        positive=positive,
        rows=len(labelled),
        prompts=len(set(prompts)),
        confusion=confusion(pairs),
        **agreement_estimates(prompts, pairs),
        unparsed=unparsed,
        empty=empty,
        disagreements=[row.place for row, verdict in decided if verdict != row.is_positive],
    )


def agreement_table(result: Agreement) -> Table:
    """The confusion matrix, with n, accuracy and kappa below."""
    counts, positive = result.confusion, result.positive
    negative = "compliance" if positive == "refusal" else "no"
    table = Table(caption=_summary(result))
    table.add_column(f"verdict of {result.method}")
    table.add_column(f"labelled {positive}", justify="right")
    table.add_column(f"labelled {negative}", justify="right")
    table.add_row(positive, f"{counts.true_positives}", f"{counts.false_positives}")
    table.add_row(negative, f"{counts.false_negatives}", f"{counts.true_negatives}")
    return table


def _summary(result: Agreement) -> str:
    excluded = [f"{count} {name}" for name, count in (("unparsed", result.unparsed), ("empty", result.empty)) if count]
    not_counted = f" (and {', '.join(excluded)}, not counted)" if excluded else ""
    clusters = f" in {result.prompts} prompts" if result.prompts < result.confusion.n else ""
    symptom = "; below 0.6: a symptom, not a result" if result.kappa and result.kappa.value < RELIABLE_KAPPA else ""
    return (
        f"n {result.confusion.n}{clusters}{not_counted}, accuracy {_interval(result.accuracy)}, "
        f"Cohen's kappa {_interval(result.kappa)}{symptom}, precision {_interval(result.precision)}, "
        f"recall {_interval(result.recall)}; 95% confidence intervals"
    )


def _interval(estimate: Estimate | None) -> str:
    return "not defined" if estimate is None else f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"
