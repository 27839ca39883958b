"""The result of ``rt eval mt-bench`` in the terminal."""

from rich.table import Table

from response_tuning.evaluation.mt_bench.mt_bench import MtBenchResult

__all__ = ["mt_bench_table"]


def mt_bench_table(model: str, result: MtBenchResult) -> Table:
    """The mean score, that of each turn, and that of each category, from 1 to 10."""
    table = Table(title=model, caption="from 1 to 10, with 95% confidence interval; greedy answers")
    for column in ("", "mean", "n"):
        table.add_column(column, justify="right" if column else "left")
    named = {"score": result.score, "first turn": result.turns.get("turn_1"), "second turn": result.turns.get("turn_2")}
    for name, mean in {**named, **result.categories}.items():
        if mean is not None:
            table.add_row(name, f"{mean.value:.2f} ({mean.low:.2f}-{mean.high:.2f})", str(mean.n))
    for state, count in result.states.items():
        table.add_row(f"turns: {state}", "", str(count))
    return table
