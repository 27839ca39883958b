"""Trains, and kills itself at twenty random moments: ``python -m tests.training.kill_often CONFIG.yaml``.

Every training is a fork of a process that has loaded the libraries, so that a moment costs no start of Python. Each is
killed with SIGKILL after a random number of steps and a random time: while it loads, computes, logs or saves. Prints
after how many logged steps each was killed, as JSON.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from response_tuning.runs.folder import RunDirectory
from response_tuning.support.configuration import read_values
from response_tuning.training.trainer import train
from response_tuning.training.training_config import TrainingConfig

_KILLS = 20
_STEPS_BETWEEN = 10
_LONGEST_WAIT_SECONDS = 0.05


def _steps_logged(run: RunDirectory) -> int:
    return run.training_log.read_bytes().count(b"\n") if run.training_log.exists() else 0


def _train_and_kill(config: TrainingConfig, *, steps: int, wait_seconds: float) -> int:
    run = RunDirectory(config.output)
    aim = _steps_logged(run) + steps
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        train(config)
        os._exit(0)
    while _steps_logged(run) < aim:
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "training ended before it was killed"
        time.sleep(0.001)
    time.sleep(wait_seconds)
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    return _steps_logged(run)


def _main(config: TrainingConfig) -> None:
    generator = random.Random(0)
    moments = [(generator.randrange(_STEPS_BETWEEN), generator.random()) for _ in range(_KILLS)]
    # Without a step to wait for, the time alone decides: it may fall into the loading of the model.
    waits = [share * _LONGEST_WAIT_SECONDS * (1 if steps else 20) for steps, share in moments]
    killed = [
        _train_and_kill(config, steps=steps, wait_seconds=wait) for (steps, _), wait in zip(moments, waits, strict=True)
    ]
    print(json.dumps(killed))


if __name__ == "__main__":
    _main(TrainingConfig(**read_values(Path(sys.argv[1]), TrainingConfig)))
