"""Whether a finished run was trained on the data that are there now."""

import hashlib
from collections.abc import Mapping, Sequence

from response_tuning.example import Example
from response_tuning.runs.folder import RunDirectory
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json
from response_tuning.support.options import Method

__all__ = ["examples_fingerprint", "require_same_data"]

_OPTIONS = {"data_fingerprint": "--data", "held_out_fingerprint": "--held-out", "start_fingerprint": "--from-run"}


def examples_fingerprint(examples: Sequence[Example], method: Method, *, reads_system: bool = False) -> str:
    """A hash of what a method takes from the examples, in order: in response tuning, only the responses.

    With ``reads_system`` the field ``system`` counts as well. A verdict on a response (``desirable``) counts where
    there is one. It needs no tokenizer, so a finished run is recognised without loading its model.
    """
    fields = {"completion"} if method == "rt" else {"completion", "prompt", "earlier_turns"}
    fields |= {"desirable"} | ({"system"} if reads_system else set())
    digest = hashlib.sha256()
    for example in examples:
        digest.update(example.model_dump_json(include=fields).encode() + b"\n")
    return digest.hexdigest()


def require_same_data(run: RunDirectory, fingerprints: Mapping[str, str]) -> None:
    """Validate that a finished run was trained on these data; one of a version that kept no fingerprints passes.

    Raises:
        UserError: the data changed since.
    """
    written = read_json(run.data_report) if run.data_report.is_file() else {}
    changed = [
        option
        for name, option in _OPTIONS.items()
        if written.get(name, fingerprints.get(name)) != fingerprints.get(name)
    ]
    if changed:
        raise UserError(
            f"{run.path} is trained already, on other data: what {' and '.join(changed)} names changed since. "
            "Put the old data back, choose another --output, or delete the run folder."
        )
