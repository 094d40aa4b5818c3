"""grpc.health.v1: off unless asked for, and about the server alone."""

from __future__ import annotations

import grpc
import pytest

from local_serving.health import CHECK, HealthCheckRequest, HealthCheckResponse
from tests.serving.server.wire import refused


def watch(wire):
    return wire.channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )


def test_it_is_off_by_default(wire):
    assert refused(wire.call, CHECK, HealthCheckRequest(), HealthCheckResponse)[0] == "UNIMPLEMENTED"


def test_the_two_services_are_serving_and_no_other_is_known(base, serve):
    wire = serve(base, "--enable_grpc_healthcheck_service")
    for name in ("", "ModelService", "PredictionService"):
        assert wire.call(CHECK, HealthCheckRequest(service=name), HealthCheckResponse).status == 1
    for name in ("m", "tensorflow.serving.PredictionService"):
        answer = refused(wire.call, CHECK, HealthCheckRequest(service=name), HealthCheckResponse)
        assert answer == ("NOT_FOUND", "service name unknown")


def test_who_watches_gets_the_state_once_and_the_end_with_the_server(base, serve):
    wire = serve(base, "--enable_grpc_healthcheck_service")
    known, unknown = (watch(wire)(HealthCheckRequest(service=name), timeout=30) for name in ("ModelService", "m"))
    assert next(known).status == 1
    assert next(unknown).status == 3
    wire.server.stop(10)
    for stream in (known, unknown):
        with pytest.raises(StopIteration):
            next(stream)
        assert stream.code() is grpc.StatusCode.OK


def test_who_hangs_up_frees_the_thread(base, serve):
    wire = serve(base, "--enable_grpc_healthcheck_service", "--grpc_max_threads=1")
    stream = watch(wire)(HealthCheckRequest())
    assert next(stream).status == 1
    stream.cancel()
    assert wire.version("m") == 1
