"""Metadata, status and reload, numbered as in the conformance page. The reloads come last and restore the config."""

from __future__ import annotations

import time

import pytest
from google.protobuf import text_format

from serving_client.protocol import messages, methods
from tests.conformance.models import LABELS, models_config
from tests.conformance.wire import floats, refused

AVAILABLE, END = 30, 50
DEADLINE_S = 60


def test_20_metadata_needs_a_field_and_knows_one(wire):
    assert refused(wire.metadata, "half_plus_two", []) == (
        "INVALID_ARGUMENT",
        "GetModelMetadataRequest must specify at least one metadata_field",
    )
    assert refused(wire.metadata, "half_plus_two", ["graph"]) == (
        "INVALID_ARGUMENT",
        "Metadata field graph is not supported",
    )


def test_21_metadata_is_a_signature_map_of_the_version_that_is_meant(wire):
    answer = wire.metadata("half_plus_two", label="stable")
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("half_plus_two", 1)
    assert (answer.model_spec.signature_name, answer.model_spec.version_label) == ("", "")
    packed = answer.metadata["signature_def"]
    assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    signatures = messages.SignatureDefMap.FromString(packed.value).signature_def
    assert {"serving_default", "identity", "add"} <= set(signatures)
    assert sorted(signatures["add"].inputs) == ["a", "b"]
    assert signatures["serving_default"].outputs["y"].dtype == 1


def test_22_metadata_of_what_is_not_served_is_not_found(wire):
    assert refused(wire.metadata, "no_such_model") == (
        "NOT_FOUND",
        "Servable not found for request: Latest(no_such_model)",
    )


def states(answer):
    return {row.version: row.state for row in answer.model_version_status}


def test_23_status_lists_every_version_and_ignores_labels(wire):
    assert states(wire.status("half_plus_two")) == {1: AVAILABLE, 2: AVAILABLE}
    assert states(wire.status("half_plus_two", version=1)) == {1: AVAILABLE}
    assert states(wire.status("half_plus_two", label="nobody")) == {1: AVAILABLE, 2: AVAILABLE}
    row = wire.status("half_plus_two", version=1).model_version_status[0]
    assert (row.status.error_code, row.status.error_message) == (0, "")


def test_24_status_of_what_is_not_there_is_not_found(wire):
    assert refused(wire.status, "half_plus_two", version=77) == (
        "NOT_FOUND",
        "Could not find version 77 of model half_plus_two",
    )
    assert refused(wire.status, "no_such_model") == (
        "NOT_FOUND",
        "Could not find any versions of model no_such_model",
    )


@pytest.mark.parametrize("service", ["", "ModelService", "PredictionService"])
def test_25_health_where_it_is_turned_on_is_always_serving(service, wire):
    """In bytes: field 1 of the request is the name; field 1 of the answer the state, 1 is SERVING."""
    ask = wire.channel.unary_unary("/grpc.health.v1.Health/Check")
    name = service.encode()
    answer = ask(b"\n" + bytes([len(name)]) + name if name else b"", timeout=DEADLINE_S)
    assert answer == b"\x08\x01"


def reload(wire, text):
    request = messages.ReloadConfigRequest()
    text_format.Parse(text, request.config)
    return wire.call(methods.RELOAD_CONFIG, request, messages.ReloadConfigResponse, DEADLINE_S)


def until(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_30_a_reload_replaces_the_config_so_models_that_are_absent_unload_and_come_back(wire, model_dir):
    rest_of_them = ("half_plus_two", "contract", "slow")
    try:
        assert reload(wire, models_config(model_dir, rest_of_them, LABELS)).status.error_code == 0
        until(lambda: set(states(wire.status("typed")).values()) == {END})
        code, _ = refused(wire.predict, "typed", {})
        assert code == "NOT_FOUND"
    finally:
        reload(wire, models_config(model_dir, labels=LABELS))
    assert states(wire.status("typed")) == {1: AVAILABLE}  # a reload waits for models that are new


def test_31_a_label_is_moved_only_to_a_version_that_is_available(wire, model_dir):
    wrong = models_config(model_dir, labels=(("stable", 77), ("canary", 2)))
    code, message = refused(reload, wire, wrong)
    assert code == "FAILED_PRECONDITION"
    assert "Request to assign label to version 77 of model half_plus_two" in message
    assert "which is not currently available for inference" in message
    x = {"x": floats([1.0])}
    assert wire.predict("half_plus_two", x, label="stable").model_spec.version.value == 1
    try:
        reload(wire, models_config(model_dir, labels=(("stable", 2), ("canary", 2))))
        assert wire.predict("half_plus_two", x, label="stable").model_spec.version.value == 2
    finally:
        reload(wire, models_config(model_dir, labels=LABELS))
    assert wire.predict("half_plus_two", x, label="stable").model_spec.version.value == 1


def test_32_a_config_that_cannot_be_is_refused_and_nothing_changes(wire, model_dir):
    twice = models_config(model_dir, ("half_plus_two", "half_plus_two"))
    code, message = refused(reload, wire, twice)
    assert code == "INVALID_ARGUMENT"
    assert "Illegal to list model half_plus_two multiple times in config list" in message
    assert states(wire.status("contract")) == {1: AVAILABLE}
