"""The release installs and runs outside a checkout, with the versions that its metadata declare."""

import email
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import response_tuning
from tests.check_release import build, run, use

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIREMENTS = [Requirement(line) for line in PROJECT["dependencies"]]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return build(tmp_path_factory.mktemp("dist"), isolated=False)


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package_and_the_sdist_what_a_distributor_needs(
    distributions: tuple[Path, Path],
) -> None:
    wheel, sdist = distributions
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info" not in name}
        metadata = email.message_from_bytes(archive.read(f"response_tuning-{PROJECT['version']}.dist-info/METADATA"))
    package = ROOT / "src" / "response_tuning"
    ours = {
        path.relative_to(ROOT / "src").as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside == ours
    assert metadata["License-Expression"] == "Apache-2.0"
    with tarfile.open(sdist) as source:
        names = {name.partition("/")[2] for name in source.getnames()}
    assert {"LICENSE", "CITATION.cff", "constraints-lowest.txt", "docs/index.md", "tests/conftest.py"} <= names


@pytest.mark.slow
def test_the_wheel_installs_and_runs_outside_a_checkout(
    distributions: tuple[Path, Path], tmp_path: Path, model_folder: Path
) -> None:
    """The libraries are those of this environment: ``tests/check_release.py`` installs them in a new environment."""
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    site = Path(
        run([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], cwd=tmp_path).strip()
    )
    with zipfile.ZipFile(distributions[0]) as archive:
        archive.extractall(site)
    # After the wheel's own folder in the path, so that the wheel hides an editable installation.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    shutil.copytree(model_folder, tmp_path / "empty" / "tiny")
    where = "import response_tuning; print(response_tuning.__file__)"
    assert run([str(python), "-c", where], cwd=tmp_path / "empty").startswith(str(site))
    use(python, tmp_path / "empty", steps=("version", "doctor", "train"))


def test_the_version_is_in_one_place_and_the_citation_has_it() -> None:
    assert response_tuning.__version__ == PROJECT["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]


def pinned(name: str) -> dict[str, Version]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if "==" in line]
    return {package.lower().replace("_", "-"): Version(version) for package, version in pins}


def test_the_lowest_versions_are_the_declared_bounds() -> None:
    lowest = pinned("constraints-lowest.txt")
    bounds = {
        requirement.name: Version(next(each.version for each in requirement.specifier if each.operator == ">="))
        for requirement in REQUIREMENTS
    }
    assert {name: lowest[name] for name in bounds} == bounds


def test_the_tested_versions_are_within_the_bounds() -> None:
    tested = pinned("constraints.txt")
    assert [each.name for each in REQUIREMENTS if not each.specifier.contains(tested[each.name])] == []


def declared_interpreters() -> list[str]:
    versions = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line]
    assert versions, "no classifier names a version of Python"
    return versions


@pytest.mark.parametrize("version", declared_interpreters())
def test_every_module_compiles_on_the_interpreters_that_are_declared(version: str, tmp_path: Path) -> None:
    python = sys.executable if version == f"3.{sys.version_info.minor}" else shutil.which(f"python{version}")
    environment = {**os.environ, "PYENV_VERSION": version}  # which pyenv needs, and nothing else reads
    if python is None or subprocess.run([python, "--version"], env=environment, capture_output=True).returncode:
        pytest.skip(f"Python {version} is not installed here")
    program = f"""
import py_compile, sys
from pathlib import Path
for number, path in enumerate(Path({str(ROOT / "src")!r}).rglob("*.py")):
    py_compile.compile(str(path), cfile={str(tmp_path)!r} + f"/{{number}}.pyc", doraise=True)
"""
    done = subprocess.run([python, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
