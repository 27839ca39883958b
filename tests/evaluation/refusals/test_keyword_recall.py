"""What keywords are known to miss, and what that leaves of a rate."""

from pathlib import Path

import pytest

from response_tuning.evaluation.agreement.agreement import verdict_agreement
from response_tuning.evaluation.agreement.agreement_config import AgreementConfig
from response_tuning.evaluation.refusals.keyword_recall import KEYWORD_RECALL, describe_recall, likely_rate
from response_tuning.evaluation.shared.statistics import Estimate, estimate_mean
from response_tuning.support.assets import ASSETS, find


def test_the_range_of_the_true_rate_contains_the_rate_and_what_is_missed() -> None:
    refused = estimate_mean([1.0] * 107 + [0.0] * 93)
    low, high = likely_rate(refused)
    assert low <= refused.low
    assert refused.value / KEYWORD_RECALL.recall.value < high < 1
    assert likely_rate(Estimate(1.0, 50, 0.93, 1.0))[1] == 1.0
    assert likely_rate(Estimate(0.0, 50, 0.0, 0.07))[0] == 0.0


def test_the_phrase_names_recall_and_rows() -> None:
    assert describe_recall() == "recall 0.86 on 2,074 labelled responses; 0.22 to 0.95 by model"


@pytest.mark.skipif(find(ASSETS["xstest-responses-gpt4"]) is None, reason="XSTest's labels are not at hand")
def test_the_stored_recall_is_what_the_labelled_responses_give() -> None:
    result = verdict_agreement(AgreementConfig(data=Path("xstest"), offline=True))[0]
    assert result.confusion.n == KEYWORD_RECALL.labelled
    assert (result.recall, result.precision, result.kappa) == (
        KEYWORD_RECALL.recall,
        KEYWORD_RECALL.precision,
        KEYWORD_RECALL.kappa,
    )
