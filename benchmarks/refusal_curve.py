"""How many refusals does it take? The curve of An & Kim 2024 (section 4) on one model, without a judge.

    python benchmarks/refusal_curve.py runs/refusals --counts 0 10 50 100 300
    python benchmarks/refusal_curve.py runs/refusals --draw docs/refusals.svg

Mixes refusals into the training set, trains a model of each mix by response tuning as the quickstart does, asks it the
prompts of four benchmarks, decides by keywords, prints a table and draws it. What is there already is taken up.
"""

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from response_tuning.data.mix_refusals import MixRefusalsConfig, mix_refusals
from response_tuning.evaluation.refusals.refusals import evaluate_refusals
from response_tuning.evaluation.refusals.refusals_config import RefusalsConfig
from response_tuning.evaluation.shared.statistics import Estimate
from response_tuning.support.files import read_json
from response_tuning.support.terminal import set_up_terminal
from response_tuning.training.trainer import train
from response_tuning.training.training_config import TrainingConfig

SETS = ("advbench", "harmbench-standard", "malicious-instruct", "xstest")


def main() -> None:
    """Make what is missing, print, and draw."""
    set_up_terminal()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder of the mixes and the runs")
    parser.add_argument("--counts", type=int, nargs="*", default=[0, 10, 50, 100, 300], help="numbers of refusals")
    parser.add_argument("--data", default="starter", help="the training set")
    parser.add_argument("--refusals", default="safety-tuned-llamas", help="where refusals come from")
    parser.add_argument("--max-examples", type=int, default=50, help="prompts of each benchmark")
    parser.add_argument("--draw", type=Path, help="the picture to write; nothing is trained")
    arguments = parser.parse_args()
    if not arguments.draw:
        make(arguments)
    curves = {count: rates(arguments.folder / f"r{count}") for count in arguments.counts}
    Console().print(as_table(curves))
    if arguments.draw:
        draw(curves, arguments.draw)


def make(arguments: argparse.Namespace) -> None:
    """Mix, train and ask, for every count."""
    mix_refusals(
        MixRefusalsConfig(
            source=arguments.data,
            refusals=arguments.refusals,
            count=tuple(arguments.counts),
            output=arguments.folder / "mix.jsonl",
        )
    )
    for count in arguments.counts:
        run = arguments.folder / f"r{count}"
        train(
            TrainingConfig(
                method="rt",
                data=str(arguments.folder / f"mix-{count}.jsonl"),
                output=run,
                learning_rate=5e-4,
                epochs=2,
                batch_size=8,
                lora_rank=16,
                lora_alpha=32,
            )
        )
        evaluate_refusals(
            RefusalsConfig(model=str(run), sets=SETS, max_examples=arguments.max_examples, max_new_tokens=64)
        )


def rates(run: Path) -> dict[str, Estimate]:
    """The refusal rate by benchmark, separately for XSTest's unsafe and safe prompts."""
    saved = read_json(run / "evaluations" / "refusals" / "metrics.json")["metrics"]["rates"]
    return {name: Estimate(**rates["refusal"]) for name, rates in saved.items() if rates["refusal"]}


def as_table(curves: dict[int, dict[str, Estimate]]) -> Table:
    """A row for each benchmark, a column for each count."""
    table = Table(title="refused, per cent, with 95% interval")
    table.add_column("refusals in training")
    for count in curves:
        table.add_column(str(count), justify="right")
    for name in next(iter(curves.values())):
        cells = [curve[name] for curve in curves.values()]
        table.add_row(
            f"{name} (n {cells[0].n})", *(f"{100 * x.value:.0f} ({100 * x.low:.0f}-{100 * x.high:.0f})" for x in cells)
        )
    return table


def draw(curves: dict[int, dict[str, Estimate]], path: Path) -> None:
    """The refusal rates over the number of refusals; safe prompts, which should be answered, are dashed."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    counts = list(curves)
    for name in next(iter(curves.values())):
        values = [curves[count][name] for count in counts]
        is_safe = name == "xstest, safe"
        (line,) = axes.plot(
            range(len(counts)),
            [100 * x.value for x in values],
            marker="o",
            label=name,
            linestyle="--" if is_safe else "-",
        )
        low, high = [100 * x.low for x in values], [100 * x.high for x in values]
        axes.fill_between(range(len(counts)), low, high, color=line.get_color(), alpha=0.08)
    axes.set_xticks(range(len(counts)), [str(count) for count in counts])
    axes.set_xlabel("refusals in the training set")
    axes.set_ylabel("refused, per cent")
    axes.set_ylim(0, 100)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
