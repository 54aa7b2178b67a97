"""constraints.txt pins one tested version of every dependency that pyproject.toml names, on every supported Python."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13")


def environment(python: str) -> dict[str, str]:
    return {"python_version": python, "python_full_version": f"{python}.5", "sys_platform": "linux", "extra": ""}


def pins() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.lstrip().startswith("#")]


def pinned(python: str) -> dict[str, Version]:
    """The pinned version of each package on one Python; two pins of one package would be ambiguous."""
    found: dict[str, Version] = {}
    for pin in pins():
        if pin.marker is None or pin.marker.evaluate(environment(python)):
            (only,) = pin.specifier
            assert only.operator == "==", f"{pin} is no exact pin"
            name = canonicalize_name(pin.name)
            assert name not in found, f"{name} is pinned twice on Python {python}"
            found[name] = Version(only.version)
    return found


def requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = project["dependencies"] + [line for part in project["optional-dependencies"].values() for line in part]
    return [found for line in named if (found := Requirement(line)).name != "evenhand"]


@pytest.mark.parametrize("python", PYTHONS)
def test_every_requirement_is_pinned_within_its_range(python: str) -> None:
    have = pinned(python)
    assert len(have) > 100
    for requirement in requirements():
        if requirement.marker is None or requirement.marker.evaluate(environment(python)):
            assert have[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_runtime_requirements_have_an_upper_bound() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    runtime = project["dependencies"] + [line for name, lines in extras.items() if name != "dev" for line in lines]
    open_ended = [line for line in runtime if "<" not in line and not line.startswith("evenhand[")]
    assert open_ended == []


def test_this_environment_holds_the_pinned_versions() -> None:
    """Skipped by `make test-newest`, whose environment is not made from the constraints."""
    import sys

    if Path(sys.prefix).name == ".venv-newest":
        pytest.skip("the environment of make test-newest")
    have = pinned(f"{sys.version_info.major}.{sys.version_info.minor}")
    other = {}
    for name in (canonicalize_name(requirement.name) for requirement in requirements()):
        try:
            installed = Version(version(name))
        except PackageNotFoundError:
            continue
        if installed.public != str(have[name]):
            other[name] = (str(installed), str(have[name]))
    assert other == {}


def test_every_make_target_installs_the_tested_versions() -> None:
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8")
    installs = [line for line in recipe.splitlines() if re.search(r"\$\(PIP\)", line)]
    assert installs
    assert all("$(TESTED)" in line for line in installs)
