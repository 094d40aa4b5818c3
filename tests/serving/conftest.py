"""Served models and a server for them, shared by all tests.

served_models: dict from name to base path, exported once per test run; see `models.export_models`. All workers and
  the folders tests/third_party and tests/conformance share it. It is read only: a test that adds or breaks versions
  copies the folder it needs.
server: a started local_serving.server.Server on a free port of 127.0.0.1 that serves all of them under their names,
  REST on another free port. Shared as well: nobody reloads or stops it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving import models
from tests.shared import build_once


@pytest.fixture(scope="session")
def served_models(tmp_path_factory) -> dict[str, Path]:
    return build_once(tmp_path_factory, "served_models", models.export_models)


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
