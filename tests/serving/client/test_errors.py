"""Errors: every gRPC code has a class, words refine it, and an error survives a process border."""

from __future__ import annotations

import concurrent.futures
import contextlib
import copy
import inspect
import pickle

import grpc
import pytest

from serving_client import errors
from serving_client.errors import (
    CODES,
    REFINED,
    BadResponse,
    CircuitOpen,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    NotReady,
    NotSupported,
    Overloaded,
    ServerFault,
    ServingError,
    Unavailable,
    from_rpc,
    from_status,
)

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ServingError)]


def test_every_status_code_but_ok_has_a_class():
    assert set(CODES) == set(grpc.StatusCode) - {grpc.StatusCode.OK}
    assert all(issubclass(kind, ServingError) and kind is not ServingError for kind in CODES.values())


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes():
    """Each line: four columns per level, then the name."""
    drawn, above = {}, ["Exception"]
    for line in errors.__doc__.split("The tree:\n\n")[1].split("\n\n")[0].splitlines():
        text = line[4:].lstrip("│├└─ ")
        level = (len(line) - 4 - len(text)) // 4
        name = text.split()[0]
        above[level + 1 :] = [name]
        drawn[name] = above[level]
    assert drawn == {kind.__name__: kind.__bases__[0].__name__ for kind in CLASSES}


def test_all_classes_are_exported():
    assert {kind.__name__ for kind in CLASSES} <= set(errors.__all__)


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_survives_pickling_and_copying_with_all_it_says(kind):
    error = kind("no answer", target="a:8500", model="cf", version=7, attempts=2)
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is kind
        assert (twin.message, twin.target, twin.model, twin.version, twin.attempts) == (
            "no answer", "a:8500", "cf", 7, 2,
        )  # fmt: skip
        assert str(twin) == "a:8500, model cf version 7: no answer (after 2 attempts)"


def test_the_sentence_leaves_out_what_is_not_known():
    assert str(ServingError("no answer")) == "no answer"
    assert str(ServingError("no answer", target="a:1", attempts=1)) == "a:1: no answer"
    assert str(ServingError("no answer", model="cf")) == "model cf: no answer"


REAL = [  # as the servers and gRPC core say it, see reference/tf_serving.md
    ("FAILED_PRECONDITION", 'Serving signature key "explain" not found.', NotSupported),
    ("FAILED_PRECONDITION", "Request to assign label to version 3 of model cf, which is not currently …", NotReady),
    ("FAILED_PRECONDITION", "Tensors with name 'x' from different tasks have different shapes and …", InvalidRequest),
    ("INVALID_ARGUMENT", "Unrecognized servable version label: canary", NotFound),
    ("INVALID_ARGUMENT", "Expects arg[0] to be float but string is provided", InvalidRequest),
    ("NOT_FOUND", "Servable not found for request: Latest(cf)", NotFound),
    ("UNAVAILABLE", "The batch scheduling queue to which this task was submitted is full", Overloaded),
    ("UNAVAILABLE", "failed to connect to all addresses; last error: connection refused", Unavailable),
    ("RESOURCE_EXHAUSTED", "Received message larger than max (5000000 vs. 4194304)", InvalidRequest),
    ("RESOURCE_EXHAUSTED", "CLIENT: Sent message larger than max (5000000 vs. 4194304)", InvalidRequest),
    ("RESOURCE_EXHAUSTED", "the request waited in the queue for too long", Overloaded),
    ("INTERNAL", "Exception deserializing response!", BadResponse),
    ("INTERNAL", "a kernel failed", ServerFault),
    ("UNKNOWN", "Stream removed", Unavailable),
    ("DEADLINE_EXCEEDED", "Deadline Exceeded", DeadlineExceeded),
]  # fmt: skip


@pytest.mark.parametrize(("code", "details", "kind"), REAL)
def test_the_words_refine_what_the_code_says(code, details, kind):
    error = from_status(grpc.StatusCode[code], details, target="a:1", model="cf", version=3, attempts=1)
    assert type(error) is kind
    assert code in str(error) and details.rstrip(".") in str(error)
    assert (error.target, error.model, error.version, error.attempts) == ("a:1", "cf", 3, 1)


def test_every_refinement_is_met_by_a_real_message():
    for code, words, kind in REFINED:
        assert any(grpc.StatusCode[c] is code and words.lower() in d.lower() and k is kind for c, d, k in REAL)


def test_a_message_is_one_line_and_a_missing_status_is_a_fault():
    assert "\n" not in str(from_status(grpc.StatusCode.INTERNAL, "two\n  lines"))
    assert str(from_status(grpc.StatusCode.INTERNAL, None)) == "INTERNAL: no details"
    assert type(from_status(None, "odd")) is ServerFault
    assert type(from_rpc(grpc.RpcError("without a code"))) is ServerFault


def test_an_open_circuit_is_caught_as_unavailable():
    assert issubclass(CircuitOpen, Unavailable)


@contextlib.contextmanager
def aborting_server(code, details):
    def abort(request, context):
        context.abort(code, details)

    handler = grpc.method_handlers_generic_handler("s", {"m": grpc.unary_unary_rpc_method_handler(abort)})
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.enable_http_proxy", 0)]) as channel:
                yield channel.unary_unary("/s/m")
        finally:
            server.stop(None).wait(5)


def test_what_a_real_server_says_arrives_as_the_right_class():
    with aborting_server(grpc.StatusCode.FAILED_PRECONDITION, 'Serving signature key "x" not found.') as call:
        with pytest.raises(grpc.RpcError) as blocking:
            call(b"", timeout=5)
        future = call.future(b"", timeout=5)
        for error in (blocking.value, future.exception()):
            assert type(from_rpc(error)) is NotSupported
            assert str(from_rpc(error)) == 'FAILED_PRECONDITION: Serving signature key "x" not found.'
