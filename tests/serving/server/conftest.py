"""Servers of a test's own.

wire: bare calls to the shared `server`.
base: a base path with version 1 of half_plus_two, the test's to change.
serve: starts a server that looks for versions every 20 ms, gives up a failed load at once, and is stopped at the end;
  serve(base, *flags) serves the folder as model m and returns its Wire, with the server as `.server`.
"""

from __future__ import annotations

import shutil

import pytest

from local_serving import flags
from local_serving.server import Server
from tests.serving.server.wire import Wire

QUICK = {
    "port": "0",
    "file_system_poll_wait_seconds": "0.02",
    "max_num_load_retries": "0",
    "load_retry_interval_micros": "1000",
}


@pytest.fixture(scope="session")
def wire(server):
    made = Wire(server.grpc_port)
    yield made
    made.channel.close()


@pytest.fixture
def base(served_models, tmp_path):
    shutil.copytree(served_models["half_plus_two"], tmp_path / "m")
    return tmp_path / "m"


@pytest.fixture
def make_server():
    made = []

    def make(base, *arguments):
        given = {one.partition("=")[0].removeprefix("--") for one in arguments}
        quick = [f"--{name}={value}" for name, value in QUICK.items() if name not in given]
        model = ["--model_name=m", f"--model_base_path={base}"] if base else []
        made.append(Server(flags.parse([*quick, *model, *arguments])))
        return made[-1]

    yield make
    for server in made:
        server.stop(5.0)


@pytest.fixture
def serve(make_server):
    wires = []

    def start(base, *arguments):
        server = make_server(base, *arguments)
        server.start()
        wires.append(Wire(server.grpc_port))
        wires[-1].server = server
        return wires[-1]

    yield start
    for wire in wires:
        wire.channel.close()
