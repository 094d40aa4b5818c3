"""The files of deploy/tensorflow_serving and docs/reference/conformance.md agree with the programs they are for."""

from __future__ import annotations

import importlib.util
import re
import shutil
import time
from pathlib import Path

import pytest
import yaml
from google.protobuf import text_format

from local_serving import batching_parameters, flags
from local_serving.config import models_of, read_config
from local_serving.server import Server
from serving_client.protocol import messages
from tests.conformance import models
from tests.serving.models import add_version
from transforms.models.server_config import named_versions

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy" / "tensorflow_serving"


def load_label():
    spec = importlib.util.spec_from_file_location("label_of_deploy", DEPLOY / "label.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_every_command_of_the_compose_file_is_one_that_local_serving_takes_too():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert set(services) == {"serving", "conformance", "conformance-batched"}
    for service in services.values():
        parsed = flags.parse(service["command"])
        assert parsed.port == 8500
        assert set(parsed.ignored) <= {"monitoring_config_file"}
        for flag in ("model_config_file", "batching_parameters_file"):
            path = getattr(parsed, flag)
            if path.startswith("/config/"):
                assert (DEPLOY / path.removeprefix("/config/")).is_file()


def test_the_configs_can_be_read_by_servers_and_by_sync():
    found = models_of(read_config(DEPLOY / "models.config"))
    assert [(model.name, model.base_path, sorted(model.labels)) for model in found] == [
        ("cf", "/models/cf", ["canary", "stable"]),
        ("vae", "/models/vae", ["canary", "stable"]),
    ]
    assert len(named_versions(DEPLOY / "models.config", "cf").versions) == 2
    assert batching_parameters.read(DEPLOY / "batching.config").allowed_batch_sizes == (8, 32, 128)


def test_the_conformance_configs_can_be_read(tmp_path):
    (tmp_path / "models.config").write_text(models.models_config("/models", labels=models.LABELS))
    assert [model.name for model in models_of(read_config(tmp_path / "models.config"))] == list(models.MODELS)
    assert batching_parameters.parse(models.BATCHING).max_batch_size == 32


def test_models_are_exported_into_an_empty_folder_alone(tmp_path, capsys):
    (tmp_path / "something").touch()
    assert models.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"{tmp_path}: is not empty; name an empty or new folder\n"


def labels_in(path, model="cf"):
    config = text_format.Parse(path.read_text(), messages.ModelServerConfig())
    [found] = [one for one in config.model_config_list.config if one.name == model]
    return dict(found.version_labels)


def test_a_label_is_given_and_the_rest_of_the_config_stays(tmp_path, capsys):
    path = Path(shutil.copy(DEPLOY / "models.config", tmp_path))
    before = labels_in(path, "vae")
    assert load_label()(["cf", "stable", "1767312000", f"--config={path}"]) == 0
    assert labels_in(path) == {"stable": 1767312000, "canary": 1767312000}
    assert labels_in(path, "vae") == before
    assert "stable of cf is now 1767312000 (was 1767225600)" in capsys.readouterr().err


def test_a_label_goes_only_to_a_version_that_the_server_has_available(served_models, tmp_path, capsys):
    """The whole way: the server follows the file, and the label moves when the version serves, not before."""
    shutil.copytree(served_models["half_plus_two"], tmp_path / "cf")
    path = tmp_path / "models.config"
    text = models.models_config(str(tmp_path), ("half_plus_two",), (("stable", 1),))
    path.write_text(text.replace("half_plus_two", "cf"))
    server = Server(
        flags.Flags(
            port=0,
            model_config_file=str(path),
            file_system_poll_wait_seconds=0.05,
            allow_version_labels_for_unavailable_models=True,
        )
    )
    server.start()
    try:
        command = ["cf", "stable", "2", f"--config={path}", f"--server=127.0.0.1:{server.grpc_port}"]
        assert load_label()(command) == 4
        assert "version 2: is missing, not AVAILABLE; nothing was changed" in capsys.readouterr().err
        assert labels_in(path) == {"stable": 1}
        add_version(tmp_path / "cf", 2)
        deadline = time.monotonic() + 60
        while load_label()(command) == 4:  # each try asks the server; it looks for versions every 50 ms
            assert time.monotonic() < deadline
        assert labels_in(path) == {"stable": 2}
    finally:
        server.stop(5.0)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nobody", "stable", "1"], 3, "has no model nobody"),
        (["cf", "stable", "1", "--config=none.config"], 3, "none.config: cannot be read"),
        (["cf", "stable", "1", "--server=127.0.0.1:1"], 1, "nothing was changed"),
    ],
)
def test_what_keeps_a_label_where_it_is_is_one_sentence(arguments, code, says, tmp_path, capsys):
    path = Path(shutil.copy(DEPLOY / "models.config", tmp_path))
    given = arguments if "--config" in " ".join(arguments) else [*arguments, f"--config={path}"]
    assert load_label()(given) == code
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1
    assert path.read_text() == (DEPLOY / "models.config").read_text()


def test_the_page_names_every_test_of_the_suite_and_no_other():
    named = re.findall(r"`(test_\d\d_\w+)`", (ROOT / "docs" / "reference" / "conformance.md").read_text())
    files = (ROOT / "tests" / "conformance").glob("test_*.py")
    defined = [name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)]
    assert sorted(named) == sorted(defined)
