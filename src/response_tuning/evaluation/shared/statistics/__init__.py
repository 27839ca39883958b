"""Statistics in one place: estimates with 95% confidence intervals, paired differences, and tests.

| what | interval | module |
|---|---|---|
| proportion | Wilson's score interval; Clopper-Pearson by option | ``proportions`` |
| rating on a scale, ratio over units | Wilson's with an effective sample size, inside the scale | ``proportions`` |
| paired difference of proportions | Tango's score interval | ``paired`` |
| any other mean or difference | percentile bootstrap over units | ``resampling`` |
| the same over several seeds | hierarchical bootstrap: seeds, and prompts | ``resampling`` |
| Cohen's kappa | Dirichlet posterior | ``kappa`` |

Tests (exact McNemar, sign-flip permutation), Holm's correction and the smallest difference that a sample can show are
in ``significance``; tests over seeds and prompts in ``over_seeds``. ``coverage`` computes how often the intervals
contain the truth.
"""

from response_tuning.evaluation.shared.statistics.estimate import (
    Estimate,
    ProportionInterval,
    estimate_difference,
    estimate_mean,
    estimate_over_seeds,
    estimate_ratio,
)
from response_tuning.evaluation.shared.statistics.kappa import estimate_kappa
from response_tuning.evaluation.shared.statistics.over_seeds import CrossedMean, crossed_mean
from response_tuning.evaluation.shared.statistics.significance import (
    holm,
    mcnemar,
    minimal_detectable_difference,
    paired_p_value,
)

__all__ = [
    "CrossedMean",
    "Estimate",
    "ProportionInterval",
    "crossed_mean",
    "estimate_difference",
    "estimate_kappa",
    "estimate_mean",
    "estimate_over_seeds",
    "estimate_ratio",
    "holm",
    "mcnemar",
    "minimal_detectable_difference",
    "paired_p_value",
]
