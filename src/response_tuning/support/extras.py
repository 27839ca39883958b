"""Optional dependencies: the error for a package that an extra of this one installs."""

from importlib.util import find_spec

from response_tuning.support.errors import UserError

__all__ = ["require_extra"]


def require_extra(package: str, extra: str, *, purpose: str) -> None:
    """Require an optional package before it is imported.

    Args:
        package: the top-level package to import.
        extra: the extra of response-tuning that installs it.
        purpose: what needs it, as the beginning of a sentence: "Reading a.parquet".

    Raises:
        UserError: the package is not installed.
    """
    if find_spec(package) is None:
        raise UserError(f"{purpose} needs the package {package}: pip install 'response-tuning[{extra}]'.")
