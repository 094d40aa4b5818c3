"""GetModelStatus: every version that was ever tracked, highest first, with its state and its error."""

from __future__ import annotations

from serving_client.protocol import messages, methods
from tests.serving import models
from tests.serving.server.wire import refused, until


def test_a_version_that_serves(wire):
    [row] = wire.status("contract").model_version_status
    assert (row.version, row.state) == (1, messages.ModelVersionStatus.State.AVAILABLE)
    assert row.HasField("status")
    assert (row.status.error_code, row.status.error_message) == (0, "")


def test_a_version_that_served_is_kept_as_end_without_an_error(base, serve):
    models.add_version(base, 2)
    wire = serve(base)
    models.add_version(base, 10)
    until(lambda: wire.states("m") == {10: "AVAILABLE", 2: "END"})
    assert list(wire.states("m")) == [10, 2]
    assert wire.error("m", 2).error_code == 0


def test_one_version_or_all(base, serve):
    models.add_version(base, 2)
    wire = serve(base)
    models.add_version(base, 3)
    until(lambda: len(wire.states("m")) == 2)
    assert [row.version for row in wire.status("m", version=2).model_version_status] == [2]


def test_what_is_not_tracked_is_not_found(wire):
    answer = refused(wire.status, "half_plus_two", version=7)
    assert answer == ("NOT_FOUND", "Could not find version 7 of model half_plus_two")
    assert refused(wire.status, "nobody") == ("NOT_FOUND", "Could not find any versions of model nobody")
    answer = refused(wire.status, "nobody", version=1)
    assert answer == ("NOT_FOUND", "Could not find version 1 of model nobody")


def test_a_request_names_its_model(wire):
    message = messages.GetModelStatusRequest()
    answer = refused(wire.call, methods.GET_MODEL_STATUS, message, messages.GetModelStatusResponse)
    assert answer == ("INVALID_ARGUMENT", "Missing ModelSpec")


def test_a_label_is_ignored(wire):
    assert [row.version for row in wire.status("contract", label="nobody").model_version_status] == [1]
