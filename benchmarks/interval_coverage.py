"""How often the 95% intervals contain the truth, by what is estimated: a table with the smallest and the mean coverage.

    python benchmarks/interval_coverage.py

Proportions, paired differences and ratings are enumerated exactly; ratios over units, kappa and means over seeds are
simulated with a fixed seed, so that their coverage is known to about half a point.
"""

import numpy as np
from rich.console import Console
from rich.table import Table

from response_tuning.evaluation.shared.statistics.coverage import (
    cluster_coverage,
    difference_coverage,
    kappa_coverage,
    proportion_coverage,
    rating_coverage,
    seeds_coverage,
)
from response_tuning.evaluation.shared.statistics.proportions import clopper_pearson

_GRID = np.linspace(0.02, 0.98, 961)
_DISCORDANT = (0.02, 0.04, 0.06, 0.1, 0.2, 0.3, 0.5)
_ONE_SIDED = (0.0, 0.25, 0.5, 0.75, 1.0)
_RATINGS = (
    *((1 - q, q, 0.0, 0.0, 0.0) for q in (0.02, 0.05, 0.1, 0.2)),
    *((1 - q, 0.0, 0.0, 0.0, q) for q in (0.02, 0.05, 0.1, 0.2, 0.5)),
    *((0.2,) * 5, (0.02, 0.03, 0.05, 0.3, 0.6), (0.3, 0.1, 0.05, 0.05, 0.5), (0.01, 0.01, 0.02, 0.06, 0.9)),
)
_TABLES = (
    ((0.45, 0.05), (0.05, 0.45)),
    ((0.5, 0.07), (0.3, 0.13)),
    ((0.05, 0.02), (0.05, 0.88)),
    ((0.02, 0.0), (0.03, 0.95)),
)
_EFFECTS = ((0.5, 0.0, 0.3), (0.0, 0.0, 0.5), (0.5, 0.03, 0.3), (0.3, 0.1, 0.3), (0.1, 0.3, 0.1))
_SAMPLES = 2_000


def main() -> None:
    """Print the table."""
    table = Table(title="coverage of 95% intervals, percent")
    for header in ("estimate", "interval", "settings"):
        table.add_column(header)
    for header in ("smallest", "mean"):
        table.add_column(header, justify="right")
    for name, interval, settings, coverage in _rows():
        table.add_row(name, interval, settings, f"{100 * min(coverage):.1f}", f"{100 * float(np.mean(coverage)):.1f}")
    Console(width=110).print(table)


def _rows() -> list[tuple[str, str, str, list[float]]]:
    rates = "p 0.02 to 0.98"
    rows = [
        ("proportion", "Wilson", f"n {n}, {rates}", proportion_coverage(n, _GRID).tolist())
        for n in (20, 25, 40, 80, 200)
    ]
    for n in (20, 80):
        exact = proportion_coverage(n, _GRID, clopper_pearson).tolist()
        rows.append(("proportion", "Clopper-Pearson", f"n {n}, {rates}", exact))
    pairs = [(q, q * one_sided) for q in _DISCORDANT for one_sided in _ONE_SIDED]
    for n in (20, 40, 80, 160):
        coverage = [difference_coverage(n, (q + d) / 2, (q - d) / 2) for q, d in pairs]
        rows.append(("paired proportions", "Tango", f"n {n}, 2 to 50% of pairs differ", coverage))
    rows += [
        ("rating from 1 to 5", "Wilson, effective n", f"n {n}", [rating_coverage(n, r) for r in _RATINGS])
        for n in (20, 30)
    ]
    coverage = [cluster_coverage(40, 4, p, c, samples=_SAMPLES) for p in (0.5, 0.9, 0.97) for c in (0.2, 0.5, 0.8)]
    rows.append(("ratio of checks", "Wilson, effective n", "40 units of 1 to 4 checks", coverage))
    for n in (40, 80):
        coverage = [kappa_coverage(n, cells, samples=_SAMPLES) for cells in _TABLES]
        rows.append(("Cohen's kappa", "Dirichlet posterior", f"n {n}", coverage))
    for seeds in (2, 3, 5):
        coverage = [
            seeds_coverage(seeds, 40, of_prompts=p, of_seeds=s, of_noise=e, samples=_SAMPLES) for p, s, e in _EFFECTS
        ]
        rows.append(("mean over seeds", "hierarchical bootstrap", f"{seeds} seeds, 40 prompts", coverage))
    return rows


if __name__ == "__main__":
    main()
