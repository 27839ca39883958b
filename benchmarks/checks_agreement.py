"""How well the checks of the development split agree with the labels of data/calibration.

    python benchmarks/checks_agreement.py

The checks were written and mended with these responses at hand, so this is the agreement within the sample.
"""

from importlib.resources import as_file, files

from response_tuning.data.sources.load_examples import STARTER_HELD_OUT
from response_tuning.evaluation.agreement.clustered import agreement_estimates
from response_tuning.evaluation.checks.checked_rows import load_checked_examples
from response_tuning.support.files import read_json_lines


def main() -> None:
    """Print accuracy, kappa, precision and recall of ``follows`` and ``correct``."""
    asked = load_checked_examples(STARTER_HELD_OUT)
    checks = dict(zip(asked.prompts, asked.checks, strict=True))
    with as_file(files("response_tuning.data.calibration") / "labels.jsonl") as path:
        rows = read_json_lines(path)
    verdicts = []
    for row in rows:
        own = checks[row["prompt"]]
        assert own is not None
        stopped = row.get("stops") != "no"
        verdicts.append(own.judge(row["prompt"], row["response"], stopped=stopped, run_code=True))
    for name in ("follows", "correct"):
        pairs = [(bool(getattr(each, name)), row[name] == "yes") for each, row in zip(verdicts, rows, strict=True)]
        print(name, f"n {len(pairs)}, labelled yes {sum(label for _, label in pairs)}")
        for measure, estimate in agreement_estimates([row["prompt"] for row in rows], pairs).items():
            if estimate is not None:
                print(f"    {measure} {estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})")


if __name__ == "__main__":
    main()
