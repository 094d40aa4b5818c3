"""What the targets of the Makefile install. `make --dry-run` prints the commands and runs none."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PRISM = "sdks/v2/go/cmd/prism@"
OTHERS = "tests.third_party.install"


def commands(target: str) -> str:
    """Return the commands of a target on a machine where nothing is installed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--dry-run", "--always-make", f"PYTHON={sys.executable}", "DATA=x", target]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("target", ["install", "demo"])
def test_the_demo_installs_the_pipelines_alone(target: str) -> None:
    told = commands(target)
    assert re.findall(r"-e '\.\[(.*?)\]'", told) == ["pipelines"]
    assert PRISM not in told
    assert OTHERS not in told


@pytest.mark.parametrize("target", ["test", "test-slow"])
def test_the_tests_complete_the_environment_of_the_demo(target: str) -> None:
    told = commands(target)
    base, complete = re.findall(r"-e '\.\[(.*?)\]'", told)
    assert base == "pipelines"
    assert {"pipelines", "dev"} <= set(complete.split(","))
    assert "peers" not in complete.split(",")
    assert PRISM in told
    assert OTHERS in told


def test_only_the_benchmark_installs_what_it_compares_with() -> None:
    assert re.findall(r"-e '\.\[(.*?)\]'", commands("bench"))[-1].split(",")[-1] == "peers"


@pytest.mark.parametrize("target", ["demo", "env", "bench"])
def test_whatever_installs_or_builds_gives_signs_of_life(target: str) -> None:
    slow = [line for line in commands(target).splitlines() if re.search(r"pip install|go install|-m venv", line)]
    assert slow
    assert [line for line in slow if "tools/alive.py" not in line] == []
