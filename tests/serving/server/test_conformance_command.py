"""`make conformance` against a server that cannot pass: one sentence, and no test runs."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}


def conformance(*arguments):
    command = [sys.executable, "-m", "pytest", "tests/conformance", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
    return done


def test_a_server_without_the_suites_models_is_one_sentence(base, serve):
    port = serve(base).server.grpc_port
    done = conformance(f"--server=127.0.0.1:{port}")
    (line,) = done.stderr.strip().splitlines()
    assert line == (
        f"ERROR: 127.0.0.1:{port}: the server lacks the models of the suite (half_plus_two, contract, typed, slow); "
        "write them with python -m tests.conformance.models DIR and start the server with DIR/models.config"
    )
    assert "Traceback" not in done.stdout


def test_an_address_without_a_server_is_one_sentence():
    done = conformance("--server=not-a-server.invalid:1")
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("ERROR: not-a-server.invalid:1: no model server answers (")
    assert line.endswith("; start one, or correct SERVER=")
