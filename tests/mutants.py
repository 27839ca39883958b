"""Do the tests notice a wrong line? Mutants of the five modules that decide correctness, one at a time.

    python tests/mutants.py                     all of them, in about ten minutes on two cores
    python tests/mutants.py conversation        those of one module

Each mutant is one changed line in a copy of ``src``; the tests of its module run against the copy. A mutant that they
do not notice has survived: write the test that is missing. ``tests/test_mutants.py`` requires that every line to change
still exists, exactly once.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Target:
    """A module, the tests that have to notice its mutants, and the mutants: text, and what takes its place."""

    module: str
    tests: tuple[str, ...]
    mutants: tuple[tuple[str, str], ...]


_STATISTICS = "evaluation/shared/statistics"
_STATISTICS_TESTS = ("tests/evaluation/shared/test_statistics.py", "tests/evaluation/shared/test_significance.py")

TARGETS = {
    "conversation": Target(
        "conversation.py",
        ("tests/test_conversation.py",),
        (
            (
                "[*prompt, *self.response_ids(example.completion)], len(prompt))",
                "[*prompt, *self.response_ids(example.completion)], len(prompt) - 1)",
            ),
            ("self._continuation_ids(text), self._format.stop_token_id]", "self._continuation_ids(text)]"),
            ("self._format.lead + completion.strip()", "completion.strip()"),
            (
                'if method == "rt" or (method == "mixed" and example.prompt is None):',
                'if method == "rt" or method == "mixed":',
            ),
            ("else self._rt_prompt_ids", 'else self.prompt_ids("")'),
            ("self.prompt_ids(example.prompt, example.earlier_turns or ())", "self.prompt_ids(example.prompt, ())"),
            (
                "return [*([self.tokenizer.bos_token_id] if begins_with_bos else []), *self._header_ids()]",
                "return self._header_ids()",
            ),
            ("return list(anchored[len(anchor) :])", "return list(anchored)"),
            ("text: str, *, split_special_tokens: bool = True", "text: str, *, split_special_tokens: bool = False"),
            (
                "return bos + chat_format.preamble + lead",
                "return bos + bos + chat_format.preamble + lead",
            ),
            ("if not finished.startswith(prompt + _PROBE_RESPONSE):", "if False:"),
            ("is_text = place % 2 == 0", "is_text = False"),
        ),
    ),
    "packing": Target(
        "training/batches/packing.py",
        ("tests/training/batches/test_packing.py",),
        (
            ("positions >= (prompts - 1)", "positions >= prompts"),
            (" & ~_is_last(positions)).nonzero()", ").nonzero()"),
            ("targets = input_ids[predicting + 1]", "targets = input_ids[predicting]"),
            ("torch.cat([torch.arange(length) for length in lengths])[None, :]", "torch.arange(sum(lengths))[None, :]"),
            ("best = bisect_left(free, (unit.tokens, 0))", "best = bisect_left(free, (unit.tokens + 1, 0))"),
            ("key=lambda unit: -unit.tokens", "key=lambda unit: unit.tokens"),
            ("left, index = max(tokens, unit.tokens), len(bins)", "left, index = 2 * tokens, len(bins)"),
            (
                "if _sees_another(decoder, beginnings, together, altered=index, vocabulary=len(head.weight)):",
                "if False:",
            ),
            ("if not _moved(alone, together) <= most:", "if False:"),
            ("pairs = sum(length**2 for length in squares)", "pairs = sum(squares)"),
        ),
    ),
    "cross-entropy": Target(
        "kernels/linear_cross_entropy.py",
        ("tests/kernels/test_linear_cross_entropy.py",),
        (
            ("_set_at_targets(exponentials, targets - start, 0.0)", "_set_at_targets(exponentials, targets, 0.0)"),
            ("ratio = self.others.log() + self.shift - self.target_logits", "ratio = self.others.log() + self.shift"),
            (
                "losses += head.label_smoothing * self.target_logits - head.smoothed * self.logits",
                "losses += head.label_smoothing * self.target_logits",
            ),
            ("gradient = self.weighted / self.normaliser", "gradient = self.weighted"),
            (
                "weighted.addcmul_(others - skipped, target_gradients, value=-1)",
                "weighted.addcmul_(others, target_gradients, value=-1)",
            ),
            (
                "return gradient * output_gradients[0].to(gradient.dtype)[:, None], None, None, None",
                "return gradient, None, None, None",
            ),
            (
                "head_gradient[start : start + len(tile)] = _matmul(narrow_gradient.T, narrow)",
                "head_gradient[:len(tile)] = _matmul(narrow_gradient.T, narrow)",
            ),
            (
                "bias_gradient[start : start + len(tile)] = gradient.sum(dim=0)",
                "bias_gradient[start : start + len(tile)] = gradient.mean(dim=0)",
            ),
            ("return softcap * squashed, 1 - squashed.square()", "return softcap * squashed, 1 - squashed"),
            ("if bool((sums.others < _MUCH).all()):", "if True:"),
            ("targets - start, head.label_smoothing - others / normaliser)", "targets - start, -others / normaliser)"),
            ("if head_weight.requires_grad:", "if False:"),
        ),
    ),
    "proportions": Target(
        f"{_STATISTICS}/proportions.py",
        (*_STATISTICS_TESTS, "tests/evaluation/shared/test_coverage.py"),
        (
            ("NORMAL_QUANTILE = 1.959963984540054", "NORMAL_QUANTILE = 1.6448536269514722"),
            ("centre = (mean + square / (2 * size)) / (1 + square / size)", "centre = mean"),
            ("square / (4 * size**2)", "square / (4 * size)"),
            ("low = np.where(count == 2, _POISSON_LOWER / n, low)", "low = low"),
            ("n - count + 1, 0.025), 0.0)", "n - count + 1, 0.05), 0.0)"),
            ("n = len(parts) + 2 * end_weight", "n = len(parts)"),
            ("return float(len(parts) * ratio", "return float(2 * len(parts) * ratio"),
        ),
    ),
    "paired": Target(
        f"{_STATISTICS}/paired.py",
        (*_STATISTICS_TESTS, "tests/evaluation/shared/test_coverage.py"),
        (
            ("low = -_upper(second, first, n)", "low = -_upper(first, second, n)"),
            ("variance = n * (2 * loss + difference * (1 - difference))", "variance = n * (2 * loss)"),
            ("return np.where(gained == n, 1.0, low)", "return low"),
        ),
    ),
    "estimate": Target(
        f"{_STATISTICS}/estimate.py",
        _STATISTICS_TESTS,
        (
            (
                "gained, lost = (parts[:, 0] > parts[:, 1]).sum(), (parts[:, 0] < parts[:, 1]).sum()",
                "gained, lost = parts[:, 0].sum(), parts[:, 1].sum()",
            ),
            ("        table = table - other", "        table = table"),
            ("if (counts <= 0).any():", "if False:"),
            (
                "return scale * (2 * float(low) - 1), scale * (2 * float(high) - 1)",
                "return 2 * float(low) - 1, 2 * float(high) - 1",
            ),
        ),
    ),
    "significance": Target(
        f"{_STATISTICS}/significance.py",
        _STATISTICS_TESTS,
        (
            ("min(1.0, 2 * float(bdtr(", "min(1.0, float(bdtr("),
            (
                "largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))",
                "largest = min(1.0, (len(p_values) - rank) * p_values[place])",
            ),
            ("return (as_large + 1) / (_FLIPS + 1)", "return as_large / _FLIPS"),
            ("return min(high, discordant) if are_proportions else high", "return high"),
        ),
    ),
    "ledger": Target(
        "asking/ledger.py",
        ("tests/asking/test_ledger.py",),
        (
            (
                'return {row["key"]: row for row in self.rows}',
                'return {row["key"]: row for row in reversed(self.rows)}',
            ),
            ("self._file.truncate(end)", "pass"),
            ("file.truncate(_whole_lines(path))", "pass"),
            ('return path.read_bytes().rfind(b"\\n") + 1', "return len(path.read_bytes())"),
            ("rows = [_decoded(line) for line in lines[:-1]]", "rows = [_decoded(line) for line in lines]"),
            ("    _require_same(path, recorded, identity)\n", ""),
            ("rest = rest[file.write(rest) :]", "file.write(rest); rest = rest[len(rest) :]"),
            ("    os.fsync(file.fileno())\n", ""),
            ("lock.acquire(timeout=0)", "pass"),
            ("if len(whole) < len(rows):", "if False:"),
        ),
    ),
}
"""By the name to ask for."""


def survivors(target: Target, source: Path) -> list[str]:
    """The mutants of a module that its tests do not notice; ``source`` is a copy of ``src`` to change."""
    path = source / "response_tuning" / target.module
    original = path.read_text(encoding="utf-8")
    survived = []
    for before, after in target.mutants:
        path.write_text(original.replace(before, after), encoding="utf-8")
        is_noticed = not passes(target.tests, source)
        print(f"{target.module}: {'noticed ' if is_noticed else 'SURVIVED'}  {before.strip()[:90]}", flush=True)
        if not is_noticed:
            survived.append(before)
    path.write_text(original, encoding="utf-8")
    return survived


def passes(tests: Sequence[str], source: Path) -> bool:
    """Whether tests pass against another ``src``: in a fork of this process, which has loaded the libraries."""
    child = os.fork()
    if child == 0:
        nothing = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):
            os.dup2(nothing, descriptor)
        sys.path.insert(0, str(source))
        os.chdir(ROOT)
        os._exit(int(pytest.main(["-x", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", *tests])))
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def main(names: Sequence[str]) -> int:
    """Try the mutants of some modules, or of all; returns 1 if any survived."""
    for library in ("torch", "transformers", "peft", "scipy.stats", "hypothesis"):
        import_module(library)
    sys.path.insert(0, str(ROOT))
    sys.dont_write_bytecode = True
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        survived = [one for name in names or TARGETS for one in survivors(TARGETS[name], source)]
    print(f"{len(survived)} survived")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
