"""Servers and programs that nobody here wrote, each as a subprocess, one of each for all tests of a process.

Programs come from .peers (`python -m tests.third_party.install`, which `make test` runs) or, Go tools, from the PATH.
One that is missing skips its tests on a developer's machine and fails them under CI=true, as the mark `needs` does.

pythie: HOST:PORT of pythie-serving with the table model `prices`. mlserver: HOST:PORT of MLServer with the models of
  mlserver_models/train.py and, as Python classes, `contract` and `echo`. expected: what scikit-learn answers.
local_server: HOST:PORT of our local_serving with the models of tests/serving/models.py, and health.
grpcurl, ghz, grpc_health_probe, ovms_python: paths. protoset: TF Serving's services for the Go tools.
"""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from google.protobuf import descriptor_pb2

from serving_client.protocol import messages
from tests.conftest import CI
from tests.serving import models
from tests.shared import build_once
from tests.third_party import environments, processes

HERE = pathlib.Path(__file__).resolve().parent


def pytest_exception_interact(node, call, report):
    """Adds the logs of the servers to what is shown of a test that fails."""
    for log in processes.logs:
        report.sections.append((f"log of {log.stem}", processes.tail(log)))


def missing(name):
    say = pytest.fail if CI else pytest.skip
    say(f"{name} is not installed as tests/third_party/requirements says; run {environments.INSTALL}")


def python_of(name):
    if not environments.is_whole(name):
        missing(name)
    return environments.PEERS / name / "bin" / "python"


def go_tool(name):
    tool = environments.go_tools()[name]
    if tool.path.exists():
        return str(tool.path)
    found = shutil.which(name) or shutil.which(name.replace("_", "-"))
    if found is None:
        missing(name)
    return found


@pytest.fixture(scope="session")
def grpcurl() -> str:
    return go_tool("grpcurl")


@pytest.fixture(scope="session")
def ghz() -> str:
    return go_tool("ghz")


@pytest.fixture(scope="session")
def grpc_health_probe() -> str:
    return go_tool("grpc_health_probe")


@pytest.fixture(scope="session")
def ovms_python() -> pathlib.Path:
    return python_of("ovmsclient")


@pytest.fixture(scope="session")
def protoset(tmp_path_factory) -> pathlib.Path:
    """serving.binpb, and what it leaves out: the services of TF Serving, and the fields' names in JSON.

    Both as protoc would write them; our own client needs neither.
    """
    path = pathlib.Path(messages.__file__).parent / "serving.binpb"
    described = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())
    services = {
        "PredictionService": {"Predict": ("PredictRequest", "PredictResponse")},
        "ModelService": {"GetModelStatus": ("GetModelStatusRequest", "GetModelStatusResponse")},
    }
    for message in (message for one in described.file for message in one.message_type):
        for field in (field for one in (message, *message.nested_type) for field in one.field):
            first, *others = field.name.split("_")
            field.json_name = first + "".join(part.capitalize() for part in others)
    file = described.file.add(
        name="services.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=[one.name for one in described.file],
    )
    for name, methods in services.items():
        service = file.service.add(name=name)
        for method, (request, response) in methods.items():
            package = ".tensorflow.serving."
            service.method.add(name=method, input_type=package + request, output_type=package + response)
    written = tmp_path_factory.mktemp("protoset") / "serving.binpb"
    written.write_bytes(described.SerializeToString())
    return written


@pytest.fixture(scope="session")
def pythie(tmp_path_factory):
    """The table: price of a course by (category, level), integers; 7 for what is not in it."""
    python = python_of("pythie")
    folder = tmp_path_factory.mktemp("pythie")
    (folder / "prices.csv").write_text("category,level,price\nmath,1,100\nmath,2,250\nmusic,1,80\n")
    metadata = {
        "feature_names": ["category", "level"],
        "target_name": "price",
        "data_type": {"category": "str", "level": "int", "price": "int"},
        "default_value": 7,
    }
    (folder / "metadata.json").write_text(json.dumps(metadata))
    config = f'model_config_list {{ config {{ name: "prices" base_path: "{folder}" model_platform: "table" }} }}'
    (folder / "models.config").write_text(config)
    port = processes.free_port()
    command = [python.with_name("pythie-serving"), folder / "models.config", f"--port={port}", "--worker-count=4"]
    command.append("--maximum-concurrent-rpcs=-1")
    with processes.running(
        [str(part) for part in command], folder / "pythie.log", lambda: processes.accepts(port), cwd=folder
    ):
        yield f"127.0.0.1:{port}"


@pytest.fixture(scope="session")
def mlserver_folder(tmp_path_factory) -> pathlib.Path:
    """Models trained by scikit-learn in MLServer's own environment, and two Python classes."""
    python = python_of("mlserver")
    folder = tmp_path_factory.mktemp("mlserver")
    shutil.copytree(HERE / "mlserver_models", folder, dirs_exist_ok=True)
    trained = subprocess.run(
        [str(python), "train.py"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert trained.returncode == 0, trained.stderr
    return folder


@pytest.fixture(scope="session")
def expected(mlserver_folder) -> dict:
    return json.loads((mlserver_folder / "expected.json").read_text())


@pytest.fixture(scope="session")
def mlserver(mlserver_folder):
    grpc_port, http_port = processes.free_port(), processes.free_port()
    settings = {
        "debug": False,
        "host": "127.0.0.1",
        "grpc_port": grpc_port,
        "http_port": http_port,
        "metrics_endpoint": None,
        "parallel_workers": 0,
    }
    (mlserver_folder / "settings.json").write_text(json.dumps(settings))
    ready = f"http://127.0.0.1:{http_port}/v2/health/ready"  # also says that all models are loaded
    command = [str(environments.PEERS / "mlserver" / "bin" / "mlserver"), "start", "."]
    with processes.running(
        command,
        mlserver_folder / "mlserver.log",
        lambda: processes.is_ok(ready),
        cwd=mlserver_folder,
        environment={"PYTHONPATH": str(environments.ROOT)},  # the class of `contract` answers as tests/serving/models
    ):
        yield f"127.0.0.1:{grpc_port}"


@pytest.fixture(scope="session")
def local_models(tmp_path_factory) -> dict[str, pathlib.Path]:
    """The folder of `served_models` of tests/serving."""
    return build_once(tmp_path_factory, "served_models", models.export_models)


@pytest.fixture(scope="session")
def local_server(local_models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("local_serving")
    (folder / "models.config").write_text(models.config_text(local_models))
    log = folder / "local_serving.log"
    listening = re.compile(r"^listening: grpc \S+:(\d+)", re.MULTILINE)
    command = [sys.executable, "-m", "local_serving", "--port=0", f"--model_config_file={folder / 'models.config'}"]
    command.append("--enable_grpc_healthcheck_service")
    with processes.running(
        command, log, lambda: listening.search(log.read_text()) is not None, cwd=environments.ROOT, timeout_s=120.0
    ):
        found = listening.search(log.read_text())
        yield f"127.0.0.1:{found.group(1)}"
