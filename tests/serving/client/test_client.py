"""The client against a real gRPC server: what it sends, what it makes of the answers, and of all that goes wrong.

Every test runs on the blocking and on the asynchronous client.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest

from serving_client import codec, errors
from serving_client.hedging import Hedge
from serving_client.protocol import messages, methods
from serving_client.retry import Retry
from tests.serving.client import stub_server
from tests.serving.client.stub_server import MODEL, RANKING, StubServer, fail, listening, ranked, sleep

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def eventually(condition, timeout_s=10.0):
    """Polls until it holds."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, "did not come to pass"
        time.sleep(0.005)
    return True


def test_recommend_gives_the_servers_items_without_padding(client, stub):
    found = client.recommend(["a", "b"])
    assert found.items == RANKING[:6]
    assert found.scores.dtype == np.float32
    assert found.scores.tolist() == [6, 5, 4, 3, 2, 1]
    assert (found.model, found.version, found.target, found.attempts, found.rung) == (MODEL, 7, stub.target, 1, "model")
    seen = ["r0", "r3", "r4"]
    cut = client.recommend(seen)
    assert cut.items == ranked(seen) == ["r1", "r2", "r5", "r6", "r7"]
    assert cut.scores.tolist() == [6, 5, 4, 3, 2]
    assert client.recommend(RANKING).items == []
    assert client.recommend([]).items == RANKING[:6]


@pytest.mark.parametrize(("k", "length"), [(1, 1), (6, 6), (100, 6), (None, 6), (np.int64(2), 2)])
def test_k_cuts_and_never_pads(k, length, client):
    found = client.recommend(["a"], k=k)
    assert found.items == RANKING[:length]
    assert len(found.scores) == length


def test_a_history_goes_out_at_one_width_newest_kept(client, stub):
    history = [f"i{number}" for number in range(130)]
    client.recommend(history)
    client.recommend(["a", "b"])
    client.recommend(tuple(history[:128]))
    long, short, full = stub.asked()
    assert long.rows("history") == [history[2:]]
    assert long.rows("exclude") == [history[:2] + [""] * 126]
    assert short.rows("history") == [["a", "b"] + [""] * 126]
    assert full.rows("history") == [history[:128]]
    assert [request.message.model_spec.signature_name for request in stub.asked()] == [
        *("filtered", "serving_default", "serving_default")
    ]
    assert list(short.message.inputs) == list(full.message.inputs) == ["history"]


def test_no_item_of_a_history_is_recommended_however_long_it_is(client, stub):
    long = ["r0", "r2", "r0", *(f"x{number}" for number in range(128)), "r3"]
    assert client.recommend(long).items == ["r1", "r4", "r5", "r6", "r7"]
    assert client.recommend(long, exclude=["r1", "r2"]).items == ["r4", "r5", "r6", "r7"]
    found = client.recommend_many([["r5"], long], excludes=[["r7"], []])
    assert [one.items for one in found] == [["r0", "r1", "r2", "r3", "r4", "r6"], ["r1", "r4", "r5", "r6", "r7"]]
    assert stub.asked()[1].rows("exclude") == [["r1", "r2", "r0", "x0"] + [""] * 124]


def test_any_iterable_of_ids_is_a_list(client):
    assert client.recommend(one for one in ["r0"]).items == RANKING[1:7]
    assert client.recommend({"r0"}, exclude=(one for one in ["r1"])).items == RANKING[2:]
    assert client.recommend(np.array(["r0"]), exclude=None).items == RANKING[1:7]
    many = client.recommend_many((one for one in [["r0"], ["a"]]), excludes=iter([["r1"], []]))
    assert [one.items for one in many] == [RANKING[2:], RANKING[:6]]
    assert client.recommend_many(iter([]), excludes=iter([])) == []
    assert client.score_items(iter(["a"]), (one for one in ["x1"])).tolist() == [1]
    assert client.explain(iter(["h3"]), iter(["x2"])).tolist() == [[203]]
    assert list(client.predict({"x": 1.0}, signature="echo", outputs=iter(["x"])).outputs) == ["x"]


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ([("Bad Key", "x")], "key 'Bad Key'"),
        ([("k", "\xe9secret")], "printable ASCII"),
        ([("k", "secret\n")], "printable ASCII"),
        ([("k", 1)], "printable ASCII"),
        ([("k-bin", "secret")], "pass bytes for a key in -bin"),
        ([("k", b"secret")], "printable ASCII"),
        ([("k", "v", "w")], "not a pair"),
        (["kv"], "not a pair"),
        ({"k": "v"}, "metadata is dict"),
        (7, "metadata is int"),
    ],
)
def test_metadata_that_cannot_be_sent_is_refused_and_no_server_blamed(metadata, says, driver, stub):
    other = StubServer()
    with driver.client([stub.target, other.target], model=MODEL) as client:
        for _ in range(12):  # more than eject a replica
            with pytest.raises(errors.InvalidRequest, match=says) as raised:
                client.recommend(["a"], metadata=metadata)
        assert "secret" not in str(raised.value)
        assert stub.requests == other.requests == []
        assert {client.recommend(["a"]).attempts for _ in range(4)} == {1}
        assert client.recommend(["a"], metadata=[("k.1_a-b", "~ 1"), ("k-bin", b"\xff")]).items
    other.stop()
    with pytest.raises(ValueError, match=says):
        driver.client(stub.target, metadata=metadata)


def test_the_time_for_encoding_is_of_the_calls_own(client, stub):
    def slow():
        time.sleep(0.12)
        yield "a"

    with pytest.raises(errors.DeadlineExceeded, match=r"the deadline of 0\.1 s"):
        client.recommend(slow(), timeout_s=0.1)
    assert stub.requests == []
    client.recommend(slow(), timeout_s=5)
    assert stub.requests[0].left_s < 4.9


def test_looks_for_the_state_of_a_model_that_is_not_found_share_the_budget_of_retries(driver, stub):
    retry = Retry(budget_ratio=0.0, budget_burst=4)
    with driver.client(stub.target, model=MODEL, retry=retry) as client:
        for _ in range(10):
            with pytest.raises(errors.NotFound):
                client.recommend(["a"], model="other")
    assert len(stub.asked()) == 10
    assert len(stub.asked(methods.GET_MODEL_STATUS)) == 4


@pytest.mark.parametrize("timeout_s", [-1, 0, float("nan"), float("inf")])
def test_wait_until_ready_takes_the_times_that_a_client_takes(timeout_s, client, stub):
    with pytest.raises(ValueError, match=f"timeout_s must be above 0 and at most 86400 seconds, got {timeout_s}"):
        client.wait_until_ready(timeout_s)
    assert stub.requests == []


def test_filtered_is_asked_only_where_something_is_excluded_and_nothing_excluded_is_dropped(client, stub):
    assert client.recommend(["a"], exclude=["r1", "r2"]).items == ["r0", "r3", "r4", "r5", "r6", "r7"]
    many = [f"x{number}" for number in range(129)] + ["r0"]
    assert client.recommend(["a"], exclude=many).items == RANKING[1:7]
    assert client.recommend(["a"], exclude=()).items == RANKING[:6]
    some, more, none = stub.asked()
    assert [request.message.model_spec.signature_name for request in (some, more, none)] == [
        *("filtered", "filtered", "serving_default")
    ]
    assert some.rows("exclude") == [["r1", "r2"] + [""] * 126]
    assert more.rows("exclude") == [many + [""] * 126]


def test_recommend_many_is_one_request_and_answers_as_one_by_one(client, stub):
    histories = [["a"], ["r0", "r1", "r2"], [], RANKING]
    excludes = [["r0"], [], [], ["a"]]
    found = client.recommend_many(histories, excludes=excludes, k=4)
    assert len(stub.asked()) == 1
    for one, history, exclude in zip(found, histories, excludes, strict=True):
        alone = client.recommend(history, exclude=exclude, k=4)
        assert one.items == alone.items == ranked(history, exclude)[:4]
        assert one.scores.tolist() == alone.scores.tolist()
        assert (one.model, one.version, one.target) == (MODEL, 7, stub.target)
    before = len(stub.asked())
    assert client.recommend_many([]) == []
    assert len(stub.asked()) == before
    assert client.recommend_many([["a"]], excludes=[[]])[0].items == RANKING[:6]
    assert stub.asked()[-1].message.model_spec.signature_name == "serving_default"


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 700])
def test_score_items_scores_any_number_of_candidates_in_one_request(count, client, stub):
    candidates = [f"x{number}" for number in range(count)]
    scores = client.score_items(["a"], candidates)
    assert scores.dtype == np.float32
    assert scores.tolist() == list(range(count))
    (request,) = stub.asked()
    assert {len(row) for row in request.rows("candidates")} == {256}
    assert request.rows("history") == [["a"] + [""] * 127] * max(1, -(-count // 256))


def test_a_candidate_that_the_model_does_not_know_scores_minus_infinity(client):
    assert client.score_items(["a"], ["x1", "unknown", "x2"]).tolist() == [1, -np.inf, 2]


@pytest.mark.parametrize(("length", "count"), [(0, 2), (1, 1), (5, 3), (128, 300), (140, 2)])
def test_explain_gives_the_columns_of_the_ids_that_were_sent(length, count, client):
    history = [f"h{number}" for number in range(length)]
    found = client.explain(history, [f"x{number}" for number in range(count)])
    columns = list(range(length))[-128:]
    assert found.shape == (count, len(columns))
    assert found.dtype == np.float32
    assert np.array_equal(found, [[100 * row + column for column in columns] for row in range(count)])


def test_predict_sends_any_tensor_and_gives_arrays(client, stub):
    numbers = np.arange(6, dtype=np.int32).reshape(2, 3)
    found = client.predict({"n": numbers, "x": [1.5, 2.5], "s": [["a", "é"]]}, signature="echo")
    assert np.array_equal(found.outputs["n"], numbers) and found.outputs["n"].dtype == np.int32
    assert found.outputs["x"].dtype == np.float32 and found.outputs["x"].tolist() == [1.5, 2.5]
    assert found.outputs["s"].tolist() == [[b"a", "é".encode()]]
    assert (found.model, found.version, found.signature) == (MODEL, 7, "echo")
    assert (found.target, found.attempts) == (stub.target, 1)
    only = client.predict({"n": numbers, "x": [1.0]}, signature="echo", outputs=["x"])
    assert list(only.outputs) == ["x"]


def test_a_message_beyond_grpcs_own_limit_of_4_mib_passes(client):
    large = np.arange(3_000_000, dtype=np.float32)
    assert np.array_equal(client.predict({"x": large}, signature="echo", timeout_s=20).outputs["x"], large)


def test_model_version_and_label_of_a_call_go_before_the_clients(driver, stub):
    stub.states = {5: "AVAILABLE", 7: "AVAILABLE"}
    with driver.client(stub.target, model=MODEL, version=5) as client:
        assert client.recommend(["a"]).version == 5
        assert client.recommend(["a"], version=7).version == 7
        assert client.recommend(["a"], version_label="stable").version == 7
        assert client.recommend(["a"], model=MODEL).version == 5
        with pytest.raises(errors.NotFound):
            client.recommend(["a"], model="other")
    specs = [request.message.model_spec for request in stub.asked()]
    assert [(spec.name, spec.version.value, spec.version_label) for spec in specs] == [
        (MODEL, 5, ""),
        (MODEL, 7, ""),
        (MODEL, 0, "stable"),
        (MODEL, 5, ""),
        ("other", 0, ""),
    ]


def test_metadata_lists_the_signatures(client):
    found = client.metadata()
    assert (found.model, found.version, found.signatures) == (MODEL, 7, ("serving_default",))
    history = found.inputs["serving_default"]["history"]
    assert (history.dtype, history.shape) == ("str", (-1, -1))
    outputs = found.outputs["serving_default"]
    assert {name: (spec.dtype, spec.shape) for name, spec in outputs.items()} == {
        "flags": ("bool", ()),
        "items": ("str", None),
        "scores": ("float32", ()),
    }


def test_status_lists_versions_newest_first_with_the_error_of_a_failed_load(client, stub):
    stub.states = {5: "AVAILABLE", 9: "END", 8: "LOADING"}
    stub.errors = {9: "no such file"}
    rows = [(row.version, row.state, row.code, row.error) for row in client.status()]
    assert rows == [(9, "END", 13, "no such file"), (8, "LOADING", 0, ""), (5, "AVAILABLE", 0, "")]
    assert [row.version for row in client.status(version=5)] == [5]
    with pytest.raises(errors.NotFound, match="Could not find version 6"):
        client.status(version=6)


def test_reload_config_sends_a_server_config_once(client, stub):
    client.reload_config("model_config_list { config { name: 'vae' base_path: '/models/vae' } }")
    assert stub.reloaded == ["vae"]
    stub.script.append(fail(UNAVAILABLE))
    with pytest.raises(errors.Unavailable):
        client.reload_config("model_config_list {}")
    assert len(stub.asked(methods.RELOAD_CONFIG)) == 2
    response = messages.ReloadConfigResponse()
    response.status.error_code, response.status.error_message = 9, "Request to assign label"
    stub.script.append(stub_server.answer(response.SerializeToString()))
    with pytest.raises(errors.NotReady, match="Request to assign label"):
        client.reload_config("model_config_list {}")
    for text in ("model_config_list { confg {} }", "", 7):
        with pytest.raises(errors.InvalidRequest, match="config"):
            client.reload_config(text)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda c: c.recommend("item"), "history is one str"),
        (lambda c: c.recommend(["a", ""]), r"history\[1\] is empty"),
        (lambda c: c.recommend(["a", 7]), r"history\[1\] is int 7, not text"),
        (lambda c: c.recommend(["a", b"b"]), r"history\[1\] is bytes"),
        (lambda c: c.recommend(None), "history is NoneType"),
        (lambda c: c.recommend(["\ud800"]), "not valid UTF-8"),
        (lambda c: c.recommend(["a"], exclude=["b", None]), r"exclude\[1\] is NoneType"),
        (lambda c: c.recommend(["a"], exclude="b"), "exclude is one str"),
        (lambda c: c.recommend(["a"], k=0), "k is 0"),
        (lambda c: c.recommend(["a"], k=2.5), "k is 2.5"),
        (lambda c: c.recommend_many([["a"], ["b", 1]]), r"histories\[1\]\[1\] is int"),
        (lambda c: c.recommend_many("ab"), "histories is one str"),
        (lambda c: c.recommend_many(None), "histories is NoneType"),
        (lambda c: c.recommend_many([["a"]], excludes=7), "excludes is int"),
        (lambda c: c.recommend_many([], excludes=[["a"]]), "1 excludes for 0 histories"),
        (lambda c: c.recommend(["", *"a" * 128]), r"history\[0\] is empty"),
        (lambda c: c.recommend(["a"], model="\ud800"), "model .* is not valid UTF-8"),
        (lambda c: c.recommend(["a"], version_label="\ud800"), "version_label .* is not valid UTF-8"),
        (lambda c: c.predict({"x": 1.0}, signature="\ud800"), "signature .* is not valid UTF-8"),
        (lambda c: c.predict({"x": 1.0}, signature=1), "signature is int 1, not text"),
        (lambda c: c.predict({"x": 1.0}, outputs=["\ud800"]), "outputs .* is not valid UTF-8"),
        (lambda c: c.predict({"x": 1.0}, outputs=[1]), "outputs is int 1, not text"),
        (lambda c: c.predict({"x": 1.0}, outputs=b"y"), "outputs is one bytes"),
        (lambda c: c.predict({"x": 1.0}, outputs=None), "outputs is NoneType"),
        (lambda c: c.recommend_many([["a"]], excludes=[]), "0 excludes for 1 histories"),
        (lambda c: c.score_items(["a"], ["b", ""]), r"candidates\[1\] is empty"),
        (lambda c: c.explain(["a"], "b"), "candidates is one str"),
        (lambda c: c.predict([1.0]), "inputs is list"),
        (lambda c: c.predict({"x": object()}), "input 'x'"),
        (lambda c: c.predict({"x": 1.0}, outputs="y"), "outputs is one str"),
        (lambda c: c.predict({"x": 1.0}, model=""), "model is ''"),
        (lambda c: c.recommend(["a"], version=-1), "version is -1"),
        (lambda c: c.recommend(["a"], version="1"), "version is '1'"),
        (lambda c: c.recommend(["a"], version=1, version_label="stable"), "are both given"),
        (lambda c: c.status(version_label=""), "version_label is ''"),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused_unsent(call, says, client, stub):
    with pytest.raises(errors.InvalidRequest, match=says):
        call(client)
    assert stub.requests == []


@pytest.mark.parametrize(
    ("arguments", "settings", "error", "says"),
    [
        ((), {}, TypeError, "targets"),
        (([],), {}, ValueError, "at least one target"),
        (("localhost",), {}, ValueError, "no port"),
        ((["a:1", "a:1"],), {}, ValueError, "named twice"),
        (([b"a:1"],), {}, TypeError, "is bytes"),
        (("a:1",), {"timeout_s": 0}, ValueError, "seconds, got 0"),
        (("a:1",), {"timeout_s": float("inf")}, ValueError, "seconds, got inf"),
        (("a:1",), {"history_width": 0}, ValueError, "history_width must be at least 1, got 0"),
        (("a:1",), {"version": 1, "version_label": "x"}, ValueError, "are both given; pass one"),
    ],
)
def test_a_client_that_cannot_be_meant_is_refused(arguments, settings, error, says, driver):
    with pytest.raises(error, match=says):
        driver.client(*arguments, **settings)


@pytest.mark.parametrize("timeout_s", [float("inf"), float("nan"), 1e9])
def test_no_call_is_without_a_deadline(timeout_s, client, stub):
    with pytest.raises(ValueError, match="must be at most 86400 seconds, got "):
        client.recommend(["a"], timeout_s=timeout_s)
    client.recommend(["a"])
    client.recommend(["a"], timeout_s=0.5)
    client.status()
    lefts = [request.left_s for request in stub.requests]
    assert 0.5 < lefts[0] <= 1.01 and lefts[1] <= 0.51 and 0.5 < lefts[2] <= 1.01


@pytest.mark.parametrize("timeout_s", [0, -1.5])
def test_a_call_that_begins_too_late_is_not_sent(timeout_s, client, stub):
    with pytest.raises(errors.DeadlineExceeded):
        client.recommend(["a"], timeout_s=timeout_s)
    assert stub.requests == []


@pytest.mark.parametrize(
    ("code", "error", "requests"),
    [
        ("INVALID_ARGUMENT", errors.InvalidRequest, 1),
        ("FAILED_PRECONDITION", errors.NotReady, 1),
        ("UNAUTHENTICATED", errors.Unauthorized, 1),
        ("PERMISSION_DENIED", errors.Unauthorized, 1),
        ("INTERNAL", errors.ServerFault, 1),
        ("UNKNOWN", errors.ServerFault, 1),
        ("UNIMPLEMENTED", errors.NotSupported, 1),
        ("CANCELLED", errors.Cancelled, 3),
        ("DEADLINE_EXCEEDED", errors.DeadlineExceeded, 1),
        ("UNAVAILABLE", errors.Unavailable, 3),
        ("RESOURCE_EXHAUSTED", errors.Overloaded, 3),
    ],
)
def test_a_servers_status_is_a_typed_error_and_only_safe_ones_are_repeated(code, error, requests, client, stub):
    stub.always = fail(grpc.StatusCode[code], "so it is")
    with pytest.raises(error, match="so it is") as raised:
        client.recommend(["a"])
    assert len(stub.asked()) == raised.value.attempts == requests
    assert (raised.value.target, raised.value.model) == (stub.target, MODEL)
    assert isinstance(raised.value.__cause__, grpc.RpcError)


@pytest.mark.parametrize("times", [1, 2])
def test_a_fault_that_passes_is_not_seen(times, client, stub):
    stub.script.extend([fail(UNAVAILABLE)] * times)
    found = client.recommend(["a"])
    assert (found.items, found.attempts) == (RANKING[:6], times + 1)
    raws = {request.raw for request in stub.asked()}
    assert len(raws) == 1


def test_retries_get_what_is_left_of_one_deadline(driver, stub):
    def slowly_fail(request, context):
        time.sleep(0.15)
        context.abort(UNAVAILABLE, "slow")

    stub.always = slowly_fail
    with driver.client(stub.target, model=MODEL, retry=Retry(attempts=50, first_delay_s=0.001)) as client:
        started = time.monotonic()
        with pytest.raises((errors.Unavailable, errors.DeadlineExceeded)):
            client.recommend(["a"], timeout_s=0.5)
        assert time.monotonic() - started < 0.7
    lefts = [request.left_s for request in stub.asked()]
    assert len(lefts) in (3, 4)
    assert all(later < earlier - 0.1 for earlier, later in itertools.pairwise(lefts))


def test_retries_of_all_calls_share_a_budget(driver, stub):
    stub.always = fail(UNAVAILABLE)
    retry = Retry(first_delay_s=0.0, budget_ratio=0.0, budget_burst=4)
    with driver.client(stub.target, model=MODEL, retry=retry) as client:
        for _ in range(10):
            with pytest.raises(errors.Unavailable):
                client.recommend(["a"])
    assert len(stub.asked()) == 14


def test_a_server_that_hangs_is_given_up_at_the_deadline_and_told_so(client, stub):
    client.recommend(["a"])  # connected, so that the next one reaches the server on a busy machine, too
    stub.always = sleep(20)
    started = time.monotonic()
    with pytest.raises(errors.DeadlineExceeded):
        client.recommend(["a"], timeout_s=0.5)
    assert 0.45 < time.monotonic() - started < 2.0
    assert eventually(lambda: stub.given_up == 1)


def wrong(name, change):
    """The plain answer of `recommend` with one thing wrong."""

    def step(request, context):
        response = messages.PredictResponse()
        codec.write_tensor(response.outputs["items"], np.array([[b"r0", b"r1"]], object))
        codec.write_tensor(response.outputs["scores"], np.array([[2, 1]], np.float32))
        change(response.outputs)
        return response.SerializeToString()

    step.__name__ = name
    return step


def _rewrite(outputs, name, array):
    codec.write_tensor(outputs[name], array)


@pytest.mark.parametrize(
    "step",
    [
        stub_server.answer(b"\xff\xff\xff garbage"),
        stub_server.answer(b""),
        wrong("no scores", lambda outputs: outputs.pop("scores")),
        wrong("items are numbers", lambda outputs: _rewrite(outputs, "items", np.zeros((1, 2), np.int64))),
        wrong("scores are doubles", lambda outputs: _rewrite(outputs, "scores", np.zeros((1, 2)))),
        wrong("too few scores", lambda outputs: _rewrite(outputs, "scores", np.zeros((1, 1), np.float32))),
        wrong("two rows", lambda outputs: _rewrite(outputs, "scores", np.zeros((2, 1), np.float32))),
        wrong("not valid UTF-8", lambda outputs: _rewrite(outputs, "items", np.array([[b"\xff", b"b"]], object))),
        wrong("huge shape", lambda outputs: setattr(outputs["scores"].tensor_shape.dim[1], "size", 2**40)),
        wrong("unknown dtype", lambda outputs: setattr(outputs["scores"], "dtype", 99)),
    ],
    ids=lambda step: step.__name__,
)
def test_an_answer_that_breaks_the_contract_is_a_bad_response(step, client, stub):
    stub.always = step
    with pytest.raises(errors.BadResponse, match="cannot be read") as raised:
        client.recommend(["a"])
    assert (raised.value.target, raised.value.model, raised.value.attempts) == (stub.target, MODEL, 1)
    stub.always = None
    assert client.recommend(["a"]).items == RANKING[:6]


def test_an_output_that_was_asked_for_and_is_not_there_is_a_bad_response(client, stub):
    stub.script.append(stub_server.answer(b""))
    with pytest.raises(errors.BadResponse, match=r"lacks the outputs \['y'\]"):
        client.predict({"x": 1.0}, outputs=["y"])


@pytest.mark.parametrize("method", ["score_items", "explain"])
def test_scores_of_another_shape_are_a_bad_response(method, client, stub):
    stub.script.append(wrong("", lambda outputs: None))
    with pytest.raises(errors.BadResponse, match=method):
        getattr(client, method)(["a"], ["b"])


def test_a_model_without_the_signature_is_not_supported(client, stub, monkeypatch):
    monkeypatch.delitem(stub_server.ANSWERS, "explain")
    with pytest.raises(errors.NotSupported, match="Serving signature key"):
        client.explain(["h1"], ["x1"])


@pytest.mark.parametrize("state", ["START", "LOADING"])
def test_not_found_while_loading_is_not_ready(state, client, stub):
    stub.states = {9: state}
    for version in (None, 9):
        with pytest.raises(errors.NotReady, match=f"version 9 is not loaded yet \\({state}\\)"):
            client.recommend(["a"], version=version)
        with pytest.raises(errors.NotReady):
            client.metadata(version=version)
    assert len(stub.asked()) == 2
    assert len(stub.asked(methods.GET_MODEL_STATUS)) == 4
    assert all(request.left_s <= 1.02 for request in stub.requests)


def test_not_found_of_what_is_not_there_stays_not_found(client, stub):
    stub.states = {7: "AVAILABLE", 8: "LOADING", 9: "END"}
    stub.errors = {9: "no such file"}
    with pytest.raises(errors.NotFound, match="version 9 failed to load: no such file"):
        client.recommend(["a"], version=9)
    with pytest.raises(errors.NotFound, match=r"Specific\(cf, 6\)"):
        client.recommend(["a"], version=6)
    with pytest.raises(errors.NotFound, match=r"Latest\(other\)"):
        client.recommend(["a"], model="other")
    with pytest.raises(errors.NotFound, match="Unrecognized servable version label"):
        client.recommend(["a"], version_label="canary")


def test_a_label_of_a_version_that_is_not_there_is_not_found_whatever_else_serves(client, stub):
    """GetModelStatus ignores labels: that another version serves says nothing about the one that the label names."""
    stub.states = {7: "AVAILABLE"}
    stub.script.append(fail(grpc.StatusCode.NOT_FOUND, "Servable not found for request: Specific(cf, 9)"))
    with pytest.raises(errors.NotFound, match=r"Specific\(cf, 9\)"):
        client.recommend(["a"], version_label="canary")
    assert not stub.asked(methods.GET_MODEL_STATUS)


def test_a_replica_that_is_still_loading_hands_over_to_one_that_has_the_model(driver, stub):
    loading = StubServer()
    loading.states = {7: "LOADING"}
    try:
        with driver.client([loading.target, stub.target], model=MODEL) as client:
            assert {client.recommend(["a"]).target for _ in range(10)} == {stub.target}
    finally:
        loading.stop()


def test_wait_until_ready_returns_when_the_model_is_there(client, stub):
    stub.states = {}
    threading.Timer(0.15, lambda: stub.states.update({7: "LOADING"})).start()
    threading.Timer(0.3, lambda: stub.states.update({7: "AVAILABLE"})).start()
    started = time.monotonic()
    assert client.wait_until_ready(10) is None
    assert 0.25 < time.monotonic() - started < 2.0
    client.wait_until_ready(1, version=7)
    client.wait_until_ready(1, version_label="stable")


def test_wait_until_ready_waits_for_a_server_that_is_not_up(driver, stub):
    stub.stop()
    up = threading.Timer(0.3, stub.start, [stub.port])
    up.start()
    with driver.client(stub.target, model=MODEL) as client:
        client.wait_until_ready(10)
        assert client.recommend(["a"]).items
    up.join()


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ({"version": 9}, "version 9 is END no such file"),
        ({"model": "other"}, "Could not find any versions of model other"),
        ({"version_label": "canary"}, "Unrecognized servable version label: canary"),
    ],
)
def test_wait_until_ready_ends_with_what_it_heard_last(named, says, client, stub):
    stub.states = {7: "AVAILABLE", 9: "END"}
    stub.errors = {9: "no such file"}
    started = time.monotonic()
    with pytest.raises(errors.DeadlineExceeded, match=f"not ready within 0.3 s; last answer: .*{says}"):
        client.wait_until_ready(0.3, **named)
    assert time.monotonic() - started < 1.0


def test_wait_until_ready_does_not_wait_for_what_waiting_cannot_mend(client, stub):
    with pytest.raises(errors.InvalidRequest):
        client.wait_until_ready(20, version=-1)


def test_nobody_at_the_port_is_unavailable_at_once(driver):
    with driver.client("127.0.0.1:1", model=MODEL) as client:
        started = time.monotonic()
        with pytest.raises(errors.Unavailable, match=r"^127\.0\.0\.1:1, model cf: UNAVAILABLE.*after 3 attempts"):
            client.recommend(["a"])
        assert time.monotonic() - started < 0.9


def test_with_wait_for_ready_a_call_waits_for_a_connection_until_its_deadline(driver):
    with driver.client("127.0.0.1:1", model=MODEL) as client:
        started = time.monotonic()
        with pytest.raises((errors.DeadlineExceeded, errors.Unavailable)):
            client.recommend(["a"], wait_for_ready=True, timeout_s=0.4)
        assert 0.3 < time.monotonic() - started < 1.0


def test_a_dead_replica_is_stepped_over(driver, stub):
    with driver.client(["127.0.0.1:1", stub.target], model=MODEL) as client:
        found = [client.recommend(["a"]) for _ in range(30)]
    assert {one.target for one in found} == {stub.target}
    assert sum(one.attempts for one in found) < 45


def test_a_host_that_accepts_and_never_answers_costs_no_more_than_the_deadline(driver):
    with listening(stub_server.never_answer) as target, driver.client(target, model=MODEL) as client:
        started = time.monotonic()
        with pytest.raises((errors.DeadlineExceeded, errors.Unavailable)):
            client.recommend(["a"], timeout_s=0.4)
        assert time.monotonic() - started < 1.0


def test_a_replica_that_hangs_is_hedged_away(driver, stub):
    with listening(stub_server.never_answer) as hanging:
        settings = {"model": MODEL, "hedge": Hedge(after_s=0.05, ratio=1.0)}
        with driver.client([hanging, stub.target], **settings) as client:
            assert {client.recommend(["a"]).target for _ in range(10)} == {stub.target}


def test_a_connection_that_breaks_under_a_call_is_repeated_elsewhere(driver, stub):
    with listening(stub_server.reset_in_mid_stream) as breaking:
        with driver.client(breaking, model=MODEL) as client, pytest.raises(errors.Unavailable):
            client.recommend(["a"])
        with driver.client([breaking, stub.target], model=MODEL) as client:
            assert {client.recommend(["a"]).target for _ in range(10)} == {stub.target}


def test_the_loser_of_a_hedge_is_cancelled(driver, stub):
    other = StubServer()
    slow = [sleep(20)]

    def first_is_slow(request, context):
        with contextlib.suppress(IndexError):
            return slow.pop()(request, context)

    stub.always = other.always = first_is_slow
    try:
        settings = {"model": MODEL, "hedge": Hedge(after_s=0.05, ratio=1.0), "timeout_s": 10.0}
        with driver.client([stub.target, other.target], **settings) as client:
            started = time.monotonic()
            found = client.recommend(["a"])
            assert time.monotonic() - started < 1.0
            assert (found.items, found.attempts) == (RANKING[:6], 2)
            assert len(stub.asked()) == len(other.asked()) == 1
            assert eventually(lambda: stub.given_up + other.given_up == 1, 3.0)  # long before its deadline
    finally:
        other.stop()


def test_a_hedged_call_survives_the_failure_of_one_of_its_two_requests(driver, stub):
    """The first request fails while the hedge is out; the hedge answers."""

    def late_fault(request, context):
        time.sleep(0.15)
        context.abort(grpc.StatusCode.INTERNAL, "late")

    def late_answer(request, context):
        time.sleep(0.3)

    stub.script.extend([late_fault, late_answer])
    with driver.client(stub.target, model=MODEL, hedge=Hedge(after_s=0.05, ratio=1.0)) as client:
        assert client.recommend(["a"]).attempts == 2
        stub.script.extend([fail(UNAVAILABLE)])
        assert client.recommend(["a"]).attempts == 2
        stub.always = fail(grpc.StatusCode.INTERNAL)
        with pytest.raises(errors.ServerFault):
            client.recommend(["a"])
        stub.always = sleep(20)
        with pytest.raises(errors.DeadlineExceeded):
            client.recommend(["a"], timeout_s=0.3)


def test_hedges_stay_within_their_budget(driver, stub):
    stub.always = lambda request, context: time.sleep(0.02)
    hedge = Hedge(after_s=0.0, ratio=0.1, burst=1)
    with driver.client(stub.target, model=MODEL, hedge=hedge) as client:
        for _ in range(40):
            client.recommend(["a"])
    assert eventually(lambda: len(stub.asked()) <= 45)
    assert len(stub.asked()) >= 42


def test_a_closed_client_answers_no_call_and_closes_twice(driver, stub):
    client = driver.client(stub.target, model=MODEL)
    client.recommend(["a"])
    client.close()
    client.close()
    for call in (lambda: client.recommend(["a"]), client.status, lambda: client.wait_until_ready(5)):
        with pytest.raises(errors.ClientClosed):
            call()
    unused = driver.client(stub.target, model=MODEL)
    unused.close()
    with pytest.raises(errors.ClientClosed):
        unused.recommend(["a"])


@pytest.mark.parametrize("hedge", [None, Hedge(after_s=5.0)], ids=["plain", "hedged"])
@pytest.mark.parametrize(("grace_s", "answered"), [(5.0, True), (0.05, False)])
def test_calls_under_way_finish_within_the_grace_of_close_or_are_cancelled(grace_s, answered, hedge, driver, stub):
    stub.always = sleep(0.5 if answered else 3.0)
    client = driver.client(stub.target, model=MODEL, timeout_s=5.0, hedge=hedge)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(client.recommend, ["a"]) for _ in range(4)]
        assert eventually(lambda: len(stub.asked()) == 4)
        started = time.monotonic()
        client.close(grace_s)
        took_s = time.monotonic() - started
        if answered:
            assert [call.result().items for call in calls] == [RANKING[:6]] * 4
            assert took_s < 2.0
        else:
            for call in calls:
                with pytest.raises(errors.ClientClosed, match="during the call"):
                    call.result()
            assert took_s < 0.4


def test_close_ends_the_pause_before_a_retry(driver, stub):
    stub.always = fail(UNAVAILABLE)
    retry = Retry(attempts=100, first_delay_s=60.0, max_delay_s=60.0)
    client = driver.client(stub.target, model=MODEL, retry=retry, timeout_s=600.0)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.recommend, ["a"])
        assert eventually(lambda: stub.asked())
        client.close(5.0)
        with pytest.raises((errors.ClientClosed, errors.Unavailable)):
            call.result(timeout=5)


def test_metadata_of_client_and_call_reach_the_server_and_stay_out_of_repr(driver, stub):
    token = ("authorization", "Bearer secret")
    with driver.client(stub.target, model=MODEL, metadata=[token]) as client:
        client.recommend(["a"], metadata=[("x-request", "7")])
        client.recommend(["a"])
        assert "secret" not in repr(client)
    first, second = stub.asked()
    assert (first.metadata["authorization"], first.metadata["x-request"]) == ("Bearer secret", "7")
    assert second.metadata["authorization"] == "Bearer secret"
    assert "x-request" not in second.metadata


class Recorder:
    """An observer that keeps all it is told."""

    def __init__(self) -> None:
        self.begun, self.attempts, self.calls = [], [], []

    def start(self, call_id, method, model):
        self.begun.append((call_id, method, model))
        return [("x-call", str(call_id))]

    def attempt(self, attempt):
        self.attempts.append(attempt)

    def call(self, call):
        self.calls.append(call)


class Broken:
    """An observer that raises."""

    def start(self, call_id, method, model):
        raise RuntimeError("start")

    def attempt(self, attempt):
        raise RuntimeError("attempt")

    def call(self, call):
        raise RuntimeError("call")


def test_observers_are_told_of_each_attempt_and_each_call_once(driver, stub):
    recorder = Recorder()
    stub.script.append(fail(UNAVAILABLE))
    with driver.client(stub.target, model=MODEL, observers=[recorder]) as client:
        client.recommend(["secret-item"])
        with pytest.raises(errors.NotFound):
            client.recommend(["secret-item"], version=3)
        with pytest.raises(errors.InvalidRequest):
            client.recommend([""])
    assert [(a.method, a.code, a.number, a.hedged, a.version) for a in recorder.attempts] == [
        ("Predict", "UNAVAILABLE", 1, False, None),
        ("Predict", "OK", 2, False, None),
        ("Predict", "NOT_FOUND", 1, False, 3),
    ]
    assert [(c.method, c.code, c.error, c.attempts, c.version, c.model, c.rung) for c in recorder.calls] == [
        ("Predict", "OK", "", 2, 7, MODEL, "model"),
        ("Predict", "NOT_FOUND", "NotFound", 1, 3, MODEL, "model"),
    ]
    assert [begun[0] for begun in recorder.begun] == [call.call_id for call in recorder.calls]
    assert {request.metadata["x-call"] for request in stub.asked()} == {str(c.call_id) for c in recorder.calls}
    assert all(0 < one.seconds < 5 for one in (*recorder.attempts, *recorder.calls))
    assert all(one.target == stub.target for one in (*recorder.attempts, *recorder.calls))
    assert "secret-item" not in repr((recorder.attempts, recorder.calls))


def test_both_requests_of_a_hedge_are_told(driver, stub):
    recorder = Recorder()
    stub.script.append(sleep(20))
    with driver.client(stub.target, model=MODEL, observers=[recorder], hedge=Hedge(after_s=0.05, ratio=1)) as client:
        client.recommend(["a"])
    assert sorted((a.code, a.number, a.hedged) for a in recorder.attempts) == [
        ("CANCELLED", 1, False),
        ("OK", 2, True),
    ]
    assert [(c.attempts, c.hedged, c.code) for c in recorder.calls] == [(2, True, "OK")]


def test_an_observer_that_raises_harms_no_call(driver, stub, caplog):
    recorder = Recorder()
    with driver.client(stub.target, model=MODEL, observers=[Broken(), recorder]) as client:
        assert client.recommend(["a"]).items == RANKING[:6]
    assert len(recorder.calls) == len(recorder.attempts) == 1
    assert caplog.text.count("an observer failed: Broken") == 3


def test_many_threads_share_a_client(client, stub):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: client.recommend([f"r{number % 8}"]), range(200)))
    assert [one.items for one in found] == [ranked([f"r{number % 8}"]) for number in range(200)]


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(driver, stub, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with driver.client(stub.target, model=MODEL) as client:
        assert client.recommend(["a"]).items


def test_importing_the_client_is_light():
    code = """
import sys
import serving_client
heavy = {"tensorflow", "tensorflow_serving", "apache_beam", "rich", "serving_client.aio", "opentelemetry"}
heavy |= {"prometheus_client", "cryptography"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
allowed = set(sys.stdlib_module_names) | {"grpc", "google", "numpy", "serving_client", "typing_extensions"}
foreign = {name.partition(".")[0] for name in sys.modules if getattr(sys.modules[name], "__file__", None)} - allowed
assert not {name for name in foreign if not name.startswith("_")}, foreign
assert sorted(serving_client.__all__) == serving_client.__all__
assert all(hasattr(serving_client, name) for name in serving_client.__all__)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
