"""Which server is tried: one that runs somewhere, or local_serving in this process.

    pytest tests/conformance --server=HOST:PORT [--rest=HOST:PORT] [--batched=HOST:PORT] [--model_dir=/models]

The server was started on a folder that `python -m tests.conformance.models` wrote (deploy/tensorflow_serving/README.md
has the commands); --batched is a second one, with --enable_batching and batching.config; --model_dir is where the
servers see the folder. Tests for which no address is given are deselected, and pytest says how many. Without --server
local_serving runs here, once as it is and once with batching, and no test is deselected.
"""

from __future__ import annotations

import shutil
import time

import grpc
import pytest

from tests.conformance.models import BATCHING, LABELS, MODELS, models_config
from tests.conformance.wire import Rest, Wire
from tests.shared import build_once

AVAILABLE = 30
ANSWER_S = 10.0
"""Time for the first answer of a server, with the time to connect."""
ADDRESSES = {
    "server": "gRPC address of the server to try, instead of local_serving",
    "rest": "its REST address",
    "batched": "gRPC address of a server with --enable_batching",
    "model_dir": "where these servers see the folder of tests.conformance.models",
}


def pytest_addoption(parser):
    group = parser.getgroup("conformance")
    for name, text in ADDRESSES.items():
        group.addoption(f"--{name}", help=text, default="/models" if name == "model_dir" else None)


def pytest_collection_modifyitems(config, items):
    if not _option(config, "server"):
        return
    for name in ("server", "batched"):
        if _option(config, name) and (fault := fault_of(_option(config, name))):
            raise pytest.UsageError(fault)
    away = {name for name in ("rest", "batched") if not _option(config, name)}
    gone = [item for item in items if away & set(getattr(item, "fixturenames", ()))]
    config.hook.pytest_deselected(items=gone)
    items[:] = [item for item in items if item not in gone]


def fault_of(address):
    """A sentence if no server answers at the address, or if it lacks a model of the suite, else ""."""
    missing = []
    with Wire(address) as wire:
        for name in MODELS:
            try:
                wire.status(name, timeout_s=ANSWER_S)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    return f"{address}: no model server answers ({error.code().name}); start one, or correct SERVER="
                missing.append(name)
    if not missing:
        return ""
    return (
        f"{address}: the server lacks the models of the suite ({', '.join(missing)}); write them with "
        "python -m tests.conformance.models DIR and start the server with DIR/models.config"
    )


def wait_for_models(wire):
    """Until every version serves: a server opens its port when the newest version of each model does."""
    deadline = time.monotonic() + 60
    while True:
        rows = {name: [row.state for row in wire.status(name).model_version_status] for name in MODELS}
        if all(states == [AVAILABLE] * (1 + (name == "half_plus_two")) for name, states in rows.items()):
            return
        assert time.monotonic() < deadline, rows
        time.sleep(0.05)


def _option(config, name):
    # Not registered where pytest was started on a folder above this one.
    return config.getoption(name, None)


@pytest.fixture(scope="session")
def local(request, tmp_path_factory):
    """local_serving in this process: a function from flags to a started server; None where another one is tried."""
    if _option(request.config, "server"):
        yield None
        return
    from local_serving.flags import Flags
    from local_serving.server import Server
    from tests.serving.models import add_version, export_models

    base = tmp_path_factory.mktemp("conformance")
    for name, path in build_once(tmp_path_factory, "served_models", export_models).items():
        shutil.copytree(path, base / name)
    add_version(base / "half_plus_two", 2)
    (base / "models.config").write_text(models_config(str(base), labels=LABELS))
    (base / "batching.config").write_text(BATCHING)
    started = []

    def start(**flags):
        both = {"port": 0, "model_config_file": str(base / "models.config"), "file_system_poll_wait_seconds": 0.1}
        both["allow_version_labels_for_unavailable_models"] = True
        started.append(Server(Flags(**both, **flags)))
        started[-1].start()
        return started[-1]

    start.base = base
    yield start
    for server in started:
        server.stop(5.0)


@pytest.fixture(scope="session")
def plain(local):
    return local(rest_api_port=-1, grpc_max_threads=16, enable_grpc_healthcheck_service=True) if local else None


@pytest.fixture(scope="session")
def wire(request, plain):
    """The server, over gRPC."""
    with Wire(f"127.0.0.1:{plain.grpc_port}" if plain else request.config.getoption("server")) as made:
        wait_for_models(made)
        yield made


@pytest.fixture(scope="session")
def rest(request, plain, wire):
    """The same server, over REST."""
    return Rest(f"127.0.0.1:{plain.rest_port}" if plain else request.config.getoption("rest"))


@pytest.fixture(scope="session")
def batched(request, local):
    """A server that batches, over gRPC."""
    address = request.config.getoption("batched", None)
    if local:
        parameters = str(local.base / "batching.config")
        server = local(enable_batching=True, batching_parameters_file=parameters, grpc_max_threads=64)
        address = f"127.0.0.1:{server.grpc_port}"
    with Wire(address) as made:
        wait_for_models(made)
        yield made


@pytest.fixture(scope="session")
def model_dir(request, local):
    """Where the server sees the models."""
    return str(local.base) if local else request.config.getoption("model_dir")
