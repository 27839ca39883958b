"""Model-written code runs only when asked, passes or fails its tests, and is kept within its limits."""

import time
from pathlib import Path

import pytest

from response_tuning.evaluation.checks import run_code
from response_tuning.evaluation.checks.row_checks import read_checks
from response_tuning.evaluation.checks.run_code import passes_tests

_ADD = "def add(a, b):\n    return a + b"


def test_python_sql_and_regular_expressions_are_tested() -> None:
    assert passes_tests(_ADD, ["answer(2, 3) == 5", "add(1, 1) == 2"], answer="add")
    assert not passes_tests(_ADD, ["answer(2, 3) == 6"], answer="add")
    assert not passes_tests("def add(a, b) return", ["True"])
    assert passes_tests("print(int(input()) * 2)", ["output == '8\\n'"], stdin="4")
    assert passes_tests("SELECT max(a) FROM t", ["rows == [(2,)]"], language="sql",
                        setup="CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2);")  # fmt: skip
    assert passes_tests(r"\d{4}", ["answer('1999')", "not answer('19990')"], language="regex")


def test_without_permission_no_code_runs_and_correct_is_unknown(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    check = {"type": "code", "defines": "add", "tests": ["answer(2, 3) == 5"]}
    checks = read_checks({"follows": [check], "correct": [check]})
    response = f"```python\nopen({str(touched)!r}, 'w')\n{_ADD}\n```"
    verdict = checks.judge("Write add(a, b).", response)
    assert (verdict.follows, verdict.correct) == (True, None)
    assert checks.judge("Write add(a, b).", f"```python\n{_ADD}\n```", run_code=True).correct
    # A file outside of the temporary folder is never written.
    wrong = checks.judge("Write add(a, b).", response, run_code=True)
    assert (wrong.follows, wrong.correct, touched.exists()) == (True, False, False)


@pytest.mark.parametrize(
    "code",
    [
        "import socket\nsocket.create_connection(('127.0.0.1', 80))",
        "import subprocess\nsubprocess.run(['true'])",
        "import os\nos.system('true')",
        "import os\nos.fork()",
        "import ctypes",
        "x = bytearray(2**30)",
        "open('big', 'wb').write(bytes(2**21))",
        "import os\nos.remove('/tmp')",
        "import os\nos.write(1, b'passed')\nos._exit(0)",
        "raise SystemExit(0)",
    ],
)
def test_code_beyond_its_limits_fails(code: str) -> None:
    assert not passes_tests(code, ["True"])


def test_code_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_code, "_SECONDS", 0.7)
    started = time.monotonic()
    assert not passes_tests("while True: pass", ["True"])
    assert time.monotonic() - started < 5
