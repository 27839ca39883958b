"""One of several training processes: ``python -m response_tuning.training.parallel.worker CONFIG.yaml ERROR.txt``.

Started by ``launch`` only. An error is written to the second file, for the launcher to report once.
"""

import os
import sys
import threading
import traceback
from pathlib import Path

from response_tuning.support.configuration import read_values
from response_tuning.support.errors import UserError
from response_tuning.support.files import write_text
from response_tuning.support.terminal import set_up_terminal
from response_tuning.training.training_config import TrainingConfig

__all__ = ["main"]


def main(config_path: Path, error_path: Path) -> int:
    """Train; returns the exit code: 0, 1 for a failure of ours, 2 for bad input, 130 when interrupted."""
    set_up_terminal()
    threading.Thread(target=_end_with_launcher, daemon=True).start()
    from response_tuning.training.trainer import train

    try:
        train(TrainingConfig(**read_values(config_path, TrainingConfig)))
    except KeyboardInterrupt:
        return 130
    except UserError as error:
        write_text(error_path, str(error))
        return 2
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        write_text(error_path, f"{_name()} cannot read or write {error.filename or 'the output'}: {reason}.")
        return 2
    except Exception:
        write_text(error_path, f"{_name()} failed:\n{traceback.format_exc()}")
        return 1
    return 0


def _name() -> str:
    return f"process {os.environ['RANK']} of {os.environ['WORLD_SIZE']}"


def _end_with_launcher() -> None:
    """Wait until the launcher has gone: its end of the pipe closes then, whatever killed it."""
    while os.read(sys.stdin.fileno(), 1):  # not by sys.stdin, whose lock Python wants when it ends
        pass
    os._exit(1)


if __name__ == "__main__":
    code = main(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is written. During Python's own shutdown a library's thread could abort the process, and a finished
    # training would look like a failed one.
    os._exit(code)
