"""Served models and a server for them, one of each for all tests of a process.

served_models: dict from name to base path, exported once per process; see `models.export_models`. Read only: a test
  that adds or breaks versions copies the folder it needs.
server: a started local_serving.server.Server on a free port of 127.0.0.1 that serves all of them under their names,
  REST on another free port. Shared as well: nobody reloads or stops it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving import models


@pytest.fixture(scope="session")
def served_models(tmp_path_factory) -> dict[str, Path]:
    return models.export_models(tmp_path_factory.mktemp("served_models"))


@pytest.fixture(scope="session")
def server(served_models, tmp_path_factory):
    from local_serving import flags
    from local_serving.server import Server

    config = tmp_path_factory.mktemp("server") / "models.config"
    config.write_text(models.config_text(served_models))
    started = Server(flags.parse(["--port=0", "--rest_api_port=-1", f"--model_config_file={config}"]), "127.0.0.1")
    started.start()
    yield started
    started.stop(5.0)
