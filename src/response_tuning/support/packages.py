"""Which packages this program needs, which of them are installed, and which extras are complete."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

__all__ = ["Package", "extras", "required_packages"]

_US = "response-tuning"
_NOT_FOR_USERS = frozenset({"development", "benchmark", "docs"})


@dataclass(frozen=True)
class Package:
    """A package that is required, and what is installed of it."""

    name: str
    wanted: str
    """The versions that will do, such as ">=2.13,<2.14"; empty for any."""
    installed: str | None
    fits: bool
    """Whether it is installed in such a version."""


def required_packages() -> list[Package]:
    """The packages that every command may import."""
    return list(_packages(""))


def extras() -> dict[str, list[Package]]:
    """The packages of each extra that users install, by its name."""
    names = {
        str(marker).split("extra == ")[-1].strip("\"' ")
        for requirement in _requirements()
        if "extra" in str(marker := requirement.marker or "")
    }
    return {name: list(_packages(name)) for name in sorted(names - _NOT_FOR_USERS)}


def _requirements() -> list[Requirement]:
    return [Requirement(line) for line in requires(_US) or []]


def _packages(extra: str) -> Iterator[Package]:
    """The packages that an extra adds on this system; for "" those that no extra names."""
    for requirement in _requirements():
        marker = requirement.marker
        is_of_extra = marker is not None and "extra" in str(marker)
        applies = marker is None or marker.evaluate({"extra": extra})
        if applies and is_of_extra == bool(extra) and canonicalize_name(requirement.name) != _US:
            found = _installed(requirement.name)
            fits = found is not None and requirement.specifier.contains(found, prereleases=True)
            yield Package(requirement.name, str(requirement.specifier), found, fits)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
