"""grpc.health.v1: off unless asked for, and about the server alone."""

from __future__ import annotations

import grpc
import pytest

from local_serving.health import CHECK, HealthCheckRequest, HealthCheckResponse
from tests.serving.server.wire import refused, until


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


def test_half_of_the_threads_are_not_for_those_who_watch_and_who_hangs_up_frees_a_place(base, serve):
    wire = serve(base, "--enable_grpc_healthcheck_service", "--grpc_max_threads=4")
    streams = [watch(wire)(HealthCheckRequest()) for _ in range(2)]
    assert [next(stream).status for stream in streams] == [1, 1]
    for _ in range(3):
        code, details = refused(next, watch(wire)(HealthCheckRequest(), timeout=30))
        assert (code, details) == ("RESOURCE_EXHAUSTED", "too many watch; use Check, or more --grpc_max_threads")
    assert wire.version("m") == 1
    streams[0].cancel()
    until(lambda: watches(wire))


def watches(wire):
    try:
        return next(watch(wire)(HealthCheckRequest(), timeout=30)).status == 1
    except grpc.RpcError:
        return False
