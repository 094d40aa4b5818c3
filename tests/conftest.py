"""What all tests share: quiet libraries, hypothesis profiles, and the real programs some tests need.

`needs("prism")` marks a test that runs a real program, looked for in .venv/bin and on the PATH. Where it is missing
the test is skipped on a developer's machine and fails under CI=true, so that CI never passes on less than everything.
"""

from __future__ import annotations

import gc
import os
import pathlib
import shutil
import sys

# Before any test imports the libraries that read them.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
import pytest

CI = os.environ.get("CI") == "true"

hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if CI else "local")


def program(name: str) -> str | None:
    """The path of a program of the environment or the machine, or None."""
    here = pathlib.Path(sys.executable).parent
    return shutil.which(name, path=os.pathsep.join([str(here), os.environ.get("PATH", "")]))


@pytest.fixture(scope="session")
def prism() -> str:
    """The path of the Prism binary; a test that uses it is marked `needs("prism")`."""
    path = program("prism")
    assert path is not None, 'mark the test with @pytest.mark.needs("prism")'
    return path


def pytest_collection_finish() -> None:
    """Leave what the imported modules made out of garbage collections: every pipeline ends with one."""
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if "apache_beam.transforms.core" in sys.modules:  # a folder that needs no Beam does not import it
        from tests import faster_beam

        faster_beam.remember()
    for mark in item.iter_markers("needs"):
        for name in mark.args:
            if program(name) is None:
                say = pytest.fail if CI else pytest.skip
                say(f"{name} is not installed; run make env")
