"""Served models and a server for them, shared by all tests.

served_models: dict from name to base path, exported once per test run; see `models.export_models`. The workers of
  pytest-xdist share the folder. It is read only: a test that adds or breaks versions copies the folder it needs.
server: a started local_serving.server.Server on a free port of 127.0.0.1 that serves all of them under their names,
  REST on another free port. Shared as well: nobody reloads or stops it.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from pathlib import Path

import pytest

from tests.serving import models


@pytest.fixture(scope="session")
def served_models(tmp_path_factory) -> dict[str, Path]:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return models.export_models(tmp_path_factory.mktemp("served_models"))
    folder = tmp_path_factory.getbasetemp().parent / "served_models"  # one folder for all workers of a run
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # closing the file releases the lock
        paths = folder / "paths.json"
        if not paths.exists():
            exported = models.export_models(tempfile.mkdtemp(dir=folder))
            paths.write_text(json.dumps({name: str(path) for name, path in exported.items()}))
        return {name: Path(path) for name, path in json.loads(paths.read_text()).items()}


@pytest.fixture(scope="session")
def server(served_models, tmp_path_factory):
    from local_serving import flags
    from local_serving.server import Server

    config = tmp_path_factory.mktemp("server") / "models.config"
    config.write_text(models.config_text(served_models))
    started = Server(flags.parse(["--port=0", "--rest_api_port=-1", f"--model_config_file={config}"]))
    started.start()
    yield started
    started.stop(5.0)
