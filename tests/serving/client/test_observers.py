"""Prometheus, OpenTelemetry and logs: what they say of calls to a real server, and no user's data in any of it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import io
import json
import logging
import subprocess
import sys
import weakref

import grpc
import prometheus_client
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from serving_client import aio
from serving_client.client import Client
from serving_client.errors import InvalidRequest, ServingError, Unavailable
from serving_client.extras import MissingExtra, require
from serving_client.fallback import Fallback
from serving_client.fallback_chain import Rung
from serving_client.hedging import Hedge
from serving_client.observing import Attempt, Call
from serving_client.popularity import Popularity
from serving_client.prometheus import PrometheusObserver
from serving_client.retry import Retry
from serving_client.structured_logs import JsonFormatter, LoggingObserver
from serving_client.tracing import TracingObserver
from tests.serving.client.rung_server import Answer, Fail, Hang, RungServer

SECRET = "user-secret-item"


@pytest.fixture(scope="module")
def running():
    with RungServer() as server:
        yield server


@pytest.fixture
def server(running):
    running.requests.clear()
    running.metadata.clear()
    running.behave("cf", Answer())
    running.behave("down", Fail(grpc.StatusCode.UNAVAILABLE, f"cannot serve {SECRET}"))
    running.behave("strict", Fail(grpc.StatusCode.INVALID_ARGUMENT, f"what is {SECRET}?"))
    return running


def call_of_every_kind(server, observers):
    """One call that succeeds, one that fails after 3 attempts, one that is refused, one of a fallback."""
    retry = Retry(attempts=3, first_delay_s=0.001)
    with Client(server.target, timeout_s=10.0, retry=retry, observers=observers) as client:
        client.recommend([SECRET], exclude=[SECRET + "2"], model="cf")
        for model in ("down", "strict"):
            with pytest.raises(ServingError):
                client.recommend([SECRET], model=model)
        chain = Fallback([Rung(client, model="down")], Popularity(["p0"], [1.0]), timeout_s=10.0, observers=observers)
        assert chain.recommend([SECRET]).items == ["p0"]


# Prometheus


def sample(registry, name, **labels):
    return registry.get_sample_value(name, labels)


def test_prometheus_counts_calls_attempts_errors_and_rungs(server):
    registry = prometheus_client.CollectorRegistry()
    call_of_every_kind(server, [PrometheusObserver(registry)])
    calls = {
        tuple(one.labels.values()): one.value
        for metric in registry.collect()
        for one in metric.samples
        if one.name == "serving_client_call_seconds_count"
    }
    assert calls == {
        ("Predict", "cf", "model", "OK"): 1.0,
        ("Predict", "down", "model", "UNAVAILABLE"): 2.0,
        ("Predict", "strict", "model", "INVALID_ARGUMENT"): 1.0,
        ("Fallback", "", "popularity", "OK"): 1.0,
    }
    where = {"method": "Predict", "target": server.target}
    attempts = "serving_client_attempts_total"
    assert sample(registry, attempts, **where, model="cf", code="OK", kind="first") == 1.0
    assert sample(registry, attempts, **where, model="down", code="UNAVAILABLE", kind="first") == 2.0
    assert sample(registry, attempts, **where, model="down", code="UNAVAILABLE", kind="retry") == 4.0
    assert sample(registry, "serving_client_attempt_seconds_count", **where, code="UNAVAILABLE") == 6.0
    errors = "serving_client_errors_total"
    assert sample(registry, errors, method="Predict", model="down", error="Unavailable") == 2.0
    assert sample(registry, errors, method="Predict", model="strict", error="InvalidRequest") == 1.0
    assert SECRET not in prometheus_client.generate_latest(registry).decode()


def test_prometheus_tells_hedges_from_retries_and_knows_their_times():
    registry = prometheus_client.CollectorRegistry()
    observer = PrometheusObserver(registry)
    observer.attempt(Attempt("Predict", "cf", None, "a:1", "OK", 0.003, number=2, hedged=True))
    kinds = {"method": "Predict", "model": "cf", "target": "a:1", "code": "OK"}
    assert sample(registry, "serving_client_attempts_total", **kinds, kind="hedge") == 1.0
    del kinds["model"]
    buckets = "serving_client_attempt_seconds_bucket"
    assert [sample(registry, buckets, **kinds, le=le) for le in ("0.002", "0.005")] == [0.0, 1.0]


def test_observers_of_one_registry_count_into_the_same_metrics():
    registry = prometheus_client.CollectorRegistry()
    for _ in range(2):
        PrometheusObserver(registry).call(Call("Predict", "cf", 7, "a:1", "OK", 0.001, 1, False))
    labels = {"method": "Predict", "model": "cf", "rung": "model", "code": "OK"}
    assert sample(registry, "serving_client_call_seconds_count", **labels) == 2.0


def test_metrics_of_a_registry_go_with_it():
    registry = prometheus_client.CollectorRegistry()
    PrometheusObserver(registry)
    gone = weakref.ref(registry)
    del registry
    gc.collect()
    assert gone() is None


# OpenTelemetry


class Spans:
    def __init__(self):
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.observer = TracingObserver(self.provider)

    def named(self, name):
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def under(self, parent):
        spans = self.exporter.get_finished_spans()
        return [span for span in spans if span.parent and span.parent.span_id == parent.context.span_id]


@pytest.fixture
def spans():
    made = Spans()
    yield made
    assert made.observer._open == {}  # every call that was started has ended
    made.provider.shutdown()


def context_of(span):
    return f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-{span.context.trace_flags:02x}"


def test_a_call_is_a_span_below_the_callers_and_the_server_gets_its_context(server, spans):
    tracer = spans.provider.get_tracer("page")
    with (
        Client(server.target, model="cf", metadata=[("tenant", "x")], observers=[spans.observer]) as client,
        tracer.start_as_current_span("page") as page,
    ):
        client.recommend(["c07"])
    (span,) = spans.named("Predict")
    assert span.parent.span_id == page.get_span_context().span_id
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes) == {
        "rpc.system.name": "grpc",
        "rpc.method": "Predict",
        "rpc.response.status_code": "OK",
        "server.address": server.target,
        "serving.model": "cf",
        "serving.version": 7,
        "serving.attempts": 1,
        "serving.hedged": False,
        "serving.rung": "model",
    }
    (metadata,) = server.metadata
    assert metadata["traceparent"] == context_of(span)
    assert metadata["tenant"] == "x"


def test_every_attempt_is_a_span_below_its_calls(server, spans):
    retry = Retry(attempts=3, first_delay_s=0.001)
    with (
        Client(server.target, model="down", timeout_s=10.0, retry=retry, observers=[spans.observer]) as client,
        pytest.raises(Unavailable),
    ):
        client.recommend(["c07"])
    (span,) = spans.named("Predict")
    assert (span.status.status_code, span.attributes["error.type"]) == (StatusCode.ERROR, "Unavailable")
    attempts = spans.under(span)
    assert [attempt.name for attempt in attempts] == [f"Predict attempt {number}" for number in (1, 2, 3)]
    assert all(attempt.kind is SpanKind.INTERNAL for attempt in attempts)
    assert all(attempt.attributes["rpc.response.status_code"] == "UNAVAILABLE" for attempt in attempts)
    assert all(attempt.start_time <= attempt.end_time <= span.end_time for attempt in attempts)
    assert [metadata["traceparent"] for metadata in server.metadata] == [context_of(span)] * 3


def test_calls_of_threads_and_tasks_keep_their_attempts_apart(server, spans):
    with (
        Client(server.target, model="cf", timeout_s=30.0, observers=[spans.observer]) as client,
        concurrent.futures.ThreadPoolExecutor(8) as pool,
    ):
        list(pool.map(lambda _: client.recommend(["c07"]), range(40)))

    async def ask():
        async with aio.Client(server.target, model="cf", timeout_s=30.0, observers=[spans.observer]) as client:
            await asyncio.gather(*(client.recommend(["c07"]) for _ in range(40)))

    asyncio.run(ask())
    calls = spans.named("Predict")
    assert len(calls) == 80
    assert all([one.name for one in spans.under(call)] == ["Predict attempt 1"] for call in calls)
    assert {metadata["traceparent"] for metadata in server.metadata} == {context_of(call) for call in calls}


def test_a_hedge_is_a_span_beside_what_it_was_sent_beside(server, spans):
    server.behave("slow", Hang(times=1))
    hedge = Hedge(after_s=0.05, ratio=1.0, burst=10)
    with Client(server.target, model="slow", timeout_s=30.0, hedge=hedge, observers=[spans.observer]) as client:
        client.recommend(["c07"])
    (span,) = spans.named("Predict")
    assert span.attributes["serving.hedged"] is True
    found = {one.name: one.attributes["serving.hedged"] for one in spans.under(span)}
    assert found == {"Predict attempt 1": False, "Predict attempt 2": True}


def test_a_cancelled_task_ends_its_span(server, spans):
    server.behave("hangs", Hang())

    async def scenario():
        async with aio.Client(server.target, model="hangs", timeout_s=30.0, observers=[spans.observer]) as client:
            task = asyncio.create_task(client.recommend(["c07"]))
            while not server.requests:
                await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(scenario())
    (span,) = spans.named("Predict")
    assert span.attributes["rpc.response.status_code"] == "CANCELLED"


def test_a_fallback_is_a_span_that_names_its_rung_and_no_span_has_user_data(server, spans):
    call_of_every_kind(server, [spans.observer])
    (span,) = spans.named("Fallback")
    assert span.attributes["serving.rung"] == "popularity"
    assert len(spans.named("Predict")) == 4
    assert SECRET not in "".join(one.to_json() for one in spans.exporter.get_finished_spans())


def test_an_attempt_that_is_told_late_hangs_below_its_call_unless_that_was_long_ago(spans):
    for call_id in range(1, 2001):
        spans.observer.start(call_id, "Predict", "cf")
        spans.observer.call(Call("Predict", "cf", 7, "a:1", "OK", 0.001, 1, False, call_id=call_id))
    newest = spans.named("Predict")[-1]
    for call_id in (1, 2000):
        spans.observer.attempt(Attempt("Predict", "cf", None, "a:1", "CANCELLED", 0.1, 2, True, call_id=call_id))
    (late,) = spans.named("Predict attempt 2")
    assert late.parent.span_id == newest.context.span_id


def test_names_of_metadata_are_as_grpc_wants_them(spans, monkeypatch):
    monkeypatch.setattr(spans.observer, "_inject", lambda carrier, context: carrier.update({"X-Trace": "Ab"}))
    assert spans.observer.start(1, "Predict", "cf") == [("x-trace", "Ab")]
    spans.observer.call(Call("Predict", "cf", 7, "a:1", "OK", 0.001, 1, False, call_id=1))


# Logs


@pytest.fixture
def lines():
    """A logger that writes JSON to a stream; call it for the objects."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.Logger("test", logging.DEBUG)
    logger.addHandler(handler)
    logger.lines = lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    return logger


def test_every_call_and_attempt_is_one_json_object_a_line_without_user_data(server, lines):
    call_of_every_kind(server, [LoggingObserver(lines)])
    told = [(line["message"], line["level"], line["method"], line["model"], line["code"]) for line in lines.lines()]
    down = [("attempt", "DEBUG", "Predict", "down", "UNAVAILABLE")] * 3
    failed = ("call failed", "WARNING", "Predict", "down", "UNAVAILABLE")
    assert told == [
        ("attempt", "DEBUG", "Predict", "cf", "OK"),
        ("call", "DEBUG", "Predict", "cf", "OK"),
        *down,
        failed,
        ("attempt", "DEBUG", "Predict", "strict", "INVALID_ARGUMENT"),
        ("call failed", "WARNING", "Predict", "strict", "INVALID_ARGUMENT"),
        *down,
        failed,
        ("no model answered", "WARNING", "Fallback", "", "OK"),
    ]
    assert SECRET not in json.dumps(lines.lines())
    call = lines.lines()[1]
    assert (call["version"], call["target"], call["attempts"], call["rung"]) == (7, server.target, 1, "model")
    assert 0.0 < call["seconds"] < 10.0


def test_levels_are_the_programs_to_choose(server, lines):
    observer = LoggingObserver(lines, ok_level=logging.INFO, failed_level=logging.ERROR, attempt_level=1)
    call_of_every_kind(server, [observer])
    assert [line["level"] for line in lines.lines()] == ["INFO", "ERROR", "ERROR", "ERROR", "ERROR"]


def test_the_default_logger_is_named_after_the_package(caplog):
    with caplog.at_level(logging.DEBUG, logger="serving_client.calls"):
        LoggingObserver().call(Call("Predict", "cf", 7, "a:1", "OK", 0.001, 1, False))
    assert [record.name for record in caplog.records] == ["serving_client.calls"]
    assert caplog.records[0].model == "cf"


def test_any_record_becomes_one_line_of_json(lines):
    lines.info(
        "two\nlines %s",
        "é\u2028",
        extra={"nan": float("nan"), "nested": {1: [float("inf"), {2.5}]}, "object": ValueError("x"), "at": "shadowed"},
    )
    try:
        raise InvalidRequest("wrong")
    except InvalidRequest:
        lines.exception("failed")
    first, second = lines.lines()
    assert first["message"] == "two\nlines é\u2028"
    assert (first["nan"], first["nested"], first["object"], first["at_"]) == (
        None,
        {"1": [None, [2.5]]},
        "x",
        "shadowed",
    )
    assert first["at"].endswith("+00:00")
    assert second["error_trace"].endswith("InvalidRequest: wrong")


# Extras


@pytest.mark.parametrize(
    ("absent", "make", "extra"),
    [
        ("prometheus_client", PrometheusObserver, "prometheus"),
        ("opentelemetry", TracingObserver, "otel"),
    ],
)
def test_a_missing_extra_is_one_line_with_the_pip_command(absent, make, extra, monkeypatch):
    for name in [*sys.modules]:
        if name == absent or name.startswith(absent + "."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(MissingExtra) as caught:
        make()
    assert str(caught.value).endswith(f" is not installed; run: pip install 'recbeam[{extra}]'")
    assert "\n" not in str(caught.value)


def test_an_import_that_fails_inside_an_installed_package_is_not_taken_for_a_missing_one(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("import no_such_module_of_ours\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_module_of_ours") as caught:
        require("half_installed", "otel")
    assert not isinstance(caught.value, MissingExtra)


def test_importing_the_observers_imports_none_of_the_extras():
    code = """
import sys
import serving_client.prometheus, serving_client.tracing, serving_client.structured_logs, serving_client.aio_fallback
assert not {"prometheus_client", "opentelemetry"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
