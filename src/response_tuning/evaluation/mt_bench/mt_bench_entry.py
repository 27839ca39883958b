"""MT-Bench in the registry of evaluations."""

from typing import TYPE_CHECKING

from response_tuning.evaluation.contract import Evaluation
from response_tuning.evaluation.mt_bench.mt_bench_config import SCALE, MtBenchConfig

if TYPE_CHECKING:
    from rich.table import Table

    from response_tuning.evaluation.mt_bench.mt_bench import MtBenchResult

__all__ = ["MT_BENCH"]


def _run(config: MtBenchConfig) -> "MtBenchResult | None":
    from response_tuning.evaluation.mt_bench.mt_bench import evaluate_mt_bench

    return evaluate_mt_bench(config)


def _table(config: MtBenchConfig, result: "MtBenchResult") -> "Table":
    from response_tuning.evaluation.mt_bench.mt_bench_table import mt_bench_table

    return mt_bench_table(config.model, result)


MT_BENCH = Evaluation(
    name="mt-bench",
    config=MtBenchConfig,
    run=_run,
    table=_table,
    judge="required",
    scales={"score": SCALE, "turn_1": SCALE, "turn_2": SCALE},
)
