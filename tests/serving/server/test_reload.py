"""A new config replaces the one before: new models are waited for, absent ones unload, a wrong one changes nothing."""

from __future__ import annotations

import concurrent.futures
import shutil
import types

import pytest

from local_serving.core import Core
from local_serving.flags import parse
from local_serving.model_service import reload_config
from serving_client.protocol import messages, methods
from tests.serving import models
from tests.serving.server.wire import floats, refused, until

SPECIFIC = "model_version_policy { specific { versions: 1 } }"


def test_a_new_model_serves_when_the_answer_comes_and_an_absent_one_unloads(base, serve, served_models):
    wire = serve(base)
    answer = wire.reload(models.config_text({"typed": served_models["typed"]}))
    assert (answer.status.error_code, answer.status.error_message) == (0, "")
    assert wire.states("typed") == {1: "AVAILABLE"}
    until(lambda: wire.states("m") == {1: "END"})
    assert refused(wire.version, "m")[0] == "NOT_FOUND"
    wire.reload(models.config_text({"m": base, "typed": served_models["typed"]}))
    assert wire.version("m") == 1


def test_policies_choose_versions(base, serve):
    for version in (2, 3):
        models.add_version(base, version)
    wire = serve(base)
    assert wire.states("m") == {3: "AVAILABLE"}
    wire.reload(models.config_text({"m": base}, m="model_version_policy { all {} }"))
    until(lambda: wire.states("m") == dict.fromkeys((3, 2, 1), "AVAILABLE"))
    wire.reload(models.config_text({"m": base}, m="model_version_policy { latest { num_versions: 2 } }"))
    until(lambda: wire.states("m") == {3: "AVAILABLE", 2: "AVAILABLE", 1: "END"})
    wire.reload(models.config_text({"m": base}, m=SPECIFIC))
    until(lambda: wire.states("m") == {3: "END", 2: "END", 1: "AVAILABLE"})
    assert wire.predict("m", {"x": floats([1])}, version=1).model_spec.version.value == 1


@pytest.mark.parametrize(
    ("config", "details"),
    [
        (
            "custom_model_config { type_url: 'x' }",
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently"
            " supported",
        ),
        (
            "model_config_list { config { name: 'm' base_path: '/a' model_platform: 'tensorflow' }"
            " config { name: 'm' base_path: '/b' model_platform: 'tensorflow' } }",
            "Illegal to list model m multiple times in config list",
        ),
        (
            "model_config_list { config { name: 'm' base_path: 'a/b' model_platform: 'tensorflow' } }",
            "Expected model m to have an absolute path or URI; got base_path()=a/b",
        ),
        (
            "model_config_list { config { name: 'm' base_path: '/a' model_platform: 'pytorch' } }",
            "Illegal to change a model's platform. For model m platform was tensorflow and new platform requested is"
            " pytorch",
        ),
        (
            "model_config_list { config { name: 'n' base_path: '/a' model_platform: 'pytorch' } }",
            "Model n requests unsupported platform pytorch",
        ),
        (
            "model_config_list { config { name: 'n' base_path: '/a\\000' model_platform: 'tensorflow' } }",
            "Expected model n to have a base_path without NUL; got '/a\\x00'",
        ),
        (
            "model_config_list { config { name: 'n' base_path: '/a' } }",
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform.",
        ),
    ],
)
def test_a_wrong_config_is_refused_and_changes_nothing(config, details, base, serve):
    wire = serve(base)
    assert refused(wire.reload, config) == ("INVALID_ARGUMENT", details)
    assert wire.states("m") == {1: "AVAILABLE"}
    assert wire.version("m") == 1
    models.add_version(base, 2)
    until(lambda: wire.version("m") == 2)


def test_the_error_is_in_the_status_of_the_response_as_well():
    """gRPC drops the message of a call that fails; the response itself holds the same error."""
    core = Core(parse(["--model_base_path=/none"]))
    response, error = reload_config(core, messages.ReloadConfigRequest())
    assert error
    assert response.status.error_code == error.code.value[0] == 3
    assert response.status.error_message == error.message
    core.stop(1)


def test_a_new_model_that_cannot_be_loaded_is_told_in_the_answer(base, serve, tmp_path):
    wire = serve(base)
    shutil.copytree(base, tmp_path / "n")
    (tmp_path / "n" / "1" / "saved_model.pb").unlink()
    code, details = refused(wire.reload, models.config_text({"m": base, "n": tmp_path / "n"}))
    assert code == "UNKNOWN"
    assert details.startswith("1 model(s) did not become available: {{{name: n version: 1} due to error: NOT_FOUND: ")
    assert wire.version("m") == 1


def test_who_does_not_wait_any_more_frees_the_server_for_the_next_config(base, serve, tmp_path):
    wire = serve(base)
    config = models.config_text({"m": base, "n": tmp_path / "nothing"})
    assert refused(wire.reload, config, timeout=0.3)[0] == "DEADLINE_EXCEEDED"
    wire.reload(models.config_text({"m": base}), timeout=10)
    assert wire.version("m") == 1


def test_who_gives_up_before_the_turn_of_the_config_changes_nothing(base, serve, tmp_path, served_models):
    wire = serve(base)
    (tmp_path / "nothing").mkdir()
    both = {"m": base, "typed": served_models["typed"]}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waits = pool.submit(
            refused, wire.reload, models.config_text({**both, "n": tmp_path / "nothing"}), timeout=1.5
        )  # fmt: skip
        until(lambda: wire.states("typed") == {1: "AVAILABLE"})
        gives_up = models.config_text({"typed": served_models["typed"]})
        assert refused(wire.reload, gives_up, timeout=0.2)[0] == "DEADLINE_EXCEEDED"
        assert waits.result()[0] == "DEADLINE_EXCEEDED"
    wire.reload(models.config_text(both))  # its turn comes when the one before has ended
    assert wire.states("m") == {1: "AVAILABLE"}


def test_a_config_whose_caller_is_gone_is_cancelled_without_effect():
    core = Core(parse(["--model_base_path=/none"]))
    request = messages.ReloadConfigRequest()
    request.config.model_config_list.config.add(name="m", base_path="/none", model_platform="tensorflow")
    _, error = reload_config(core, request, lambda: False)
    assert error.code.name == "CANCELLED"
    assert core._models == ()
    core.stop(1)


def test_a_config_waits_for_the_one_before_it_for_a_while_only(base, serve, tmp_path, monkeypatch):
    monkeypatch.setattr("local_serving.core.RELOAD_WAIT_S", 0.2)
    wire = serve(base)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waits = pool.submit(
            refused, wire.reload, models.config_text({"m": base, "n": tmp_path / "nothing"}), timeout=1.5
        )
        until(lambda: wire.server.core._reloading.locked())
        answer = refused(wire.reload, models.config_text({"m": base}))
        assert answer == ("UNAVAILABLE", "the models of another new config are waited for; try again later")
        assert waits.result()[0] == "DEADLINE_EXCEEDED"


def test_a_fault_of_the_servers_own_is_internal(caplog):
    def fail(request, wanted):
        raise ZeroDivisionError("oops")

    request = messages.ReloadConfigRequest()
    request.config.model_config_list.SetInParent()
    response, error = reload_config(types.SimpleNamespace(reload=fail), request)
    assert (error.code.name, error.message) == ("INTERNAL", "ZeroDivisionError: oops")
    assert response.status.error_code == 13
    assert "an error in local_serving" in caplog.text


def test_the_config_file_is_read_again(base, tmp_path, serve, served_models):
    config = tmp_path / "models.config"
    config.write_text(models.config_text({"m": base}))
    wire = serve(None, f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=1")
    config.write_text("model_config_list {")  # being written: said in the log, the next one counts
    config.write_text(models.config_text({"m": base, "typed": served_models["typed"]}))
    until(lambda: wire.states("typed") == {1: "AVAILABLE"})


def test_a_request_without_a_config_is_refused(wire):
    message = messages.ReloadConfigRequest()
    code, _ = refused(wire.call, methods.RELOAD_CONFIG, message, messages.ReloadConfigResponse)
    assert code == "INVALID_ARGUMENT"
