"""Win rates: means of preferences, with their standard error."""

import numpy as np
import pytest

from response_tuning.evaluation.alpaca.win_rate import standard_error, win_rate
from response_tuning.support.errors import UserError
from tests.evaluation.alpaca.verdicts import annotation


def test_the_win_rate_is_the_mean_preference_with_its_standard_error() -> None:
    preferences = [1.0, 2.0, 2.0, 1.25, 1.5, 0.0]
    result = win_rate([annotation(preference) for preference in preferences], expected=6)
    values = [0, 1, 1, 0.25, 0.5, 0.5]
    assert result.estimate.value == pytest.approx(sum(values) / 6, abs=1e-4)
    assert result.estimate.n == 6
    assert result.standard_error == pytest.approx(np.std(values, ddof=1) / np.sqrt(6))
    assert (result.wins, result.losses, result.draws) == (2, 2, 2)
    assert result.discrete == pytest.approx(0.5)


def test_a_single_value_has_no_standard_error() -> None:
    assert standard_error([0.3]) == 0


def test_fewer_verdicts_than_expected_are_refused() -> None:
    annotations = [annotation(2.0)] * 804 + [annotation(None)]
    with pytest.raises(UserError, match="Only 804 of 805 instructions have a verdict \\(1 of 805 verdicts could not"):
        win_rate(annotations)


def test_no_verdict_at_all_is_refused_even_where_none_is_expected() -> None:
    with pytest.raises(UserError, match="no verdicts"):
        win_rate([annotation(None)], expected=0)


def test_verdicts_that_could_not_be_read_count_neither_way() -> None:
    judged = [annotation(2.0)] * 3 + [annotation(1.0)]
    assert win_rate([*judged, annotation(None)], expected=4) == win_rate(judged, expected=4)


def test_a_model_that_always_loses_has_an_interval_with_width() -> None:
    estimate = win_rate([annotation(1.0)] * 20, expected=20).estimate
    assert (estimate.low, estimate.high) == (0, 0.1611)
    nearly = win_rate([annotation(1.01)] * 20, expected=20).estimate
    assert nearly.low < nearly.value < nearly.high < 0.2
