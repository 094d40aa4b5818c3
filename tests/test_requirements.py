"""The pins: plain lines, and requirements/worker.txt as requirements/generate.py would write it today."""

from __future__ import annotations

import importlib.util
import pathlib
import re
import tomllib
from importlib import metadata
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
PYPROJECT = (ROOT / "pyproject.toml").read_text()


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """requirements/generate.py, which is a script and in no package."""
    spec = importlib.util.spec_from_file_location("generate_requirements", ROOT / "requirements" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_constraints_are_plain_lines_of_name_and_version() -> None:
    lines = [line for line in CONSTRAINTS.splitlines() if not line.startswith("#")]
    odd = [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)]
    assert not odd
    names = [canonicalize_name(line.split("==")[0]) for line in lines]
    assert len(names) == len(set(names))


def test_every_direct_dependency_has_a_pin_within_its_range(generate: ModuleType) -> None:
    project = tomllib.loads(PYPROJECT)["project"]
    versions = generate.pins(CONSTRAINTS)
    for text in [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), text


def test_worker_requirements_are_current(generate: ModuleType) -> None:
    written = generate.WORKER.read_text()
    assert written == generate.worker_requirements(PYPROJECT, CONSTRAINTS), "run: python requirements/generate.py"


def test_worker_requirements_hold_the_pipelines_and_nothing_of_development(generate: ModuleType) -> None:
    names = set(generate.pins(generate.WORKER.read_text()))
    assert {"apache-beam", "tensorflow", "numba", "pyarrow", "boto3", "google-cloud-storage"} <= names
    assert not {"pytest", "mypy", "moto", "implicit", "polars", "redis"} & names


def test_the_environment_has_the_pinned_versions(generate: ModuleType) -> None:
    versions = generate.pins(CONSTRAINTS)
    installed = {canonicalize_name(d.metadata["Name"]): d.version for d in metadata.distributions()}
    differing = {n: (versions[n], installed[n]) for n in versions if n in installed and versions[n] != installed[n]}
    assert not differing, "run: make env"
