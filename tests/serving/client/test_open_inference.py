"""The clients of the Open Inference Protocol against a server on loopback: what is sent, what is read, what is refused.

Every test runs with the blocking and the asyncio client. The truths are by hand: a scorer adds its two features.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import re
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_client import Client, OpenInference, aio, aio_fallback, aio_open_inference, errors, open_inference
from serving_client.fallback import Fallback
from serving_client.fallback_chain import Rung
from serving_client.hedging import Hedge
from serving_client.open_inference_codec import read_tensors, write_tensor
from serving_client.open_inference_operations import recommend
from serving_client.operations import Origin, Spec, Widths
from serving_client.popularity import Popularity
from serving_client.protocol import messages
from serving_client.retry import Retry
from tests.serving.client.open_inference_server import inference_servers


@pytest.fixture
def server():
    with inference_servers() as (one,):
        yield one


SETTINGS = {field.name for field in dataclasses.fields(OpenInference)}


def divided(settings):
    """The settings of the protocol, put into its object, and those of the client."""
    protocol = OpenInference(**{name: value for name, value in settings.items() if name in SETTINGS})
    return {"protocol": protocol, **{name: value for name, value in settings.items() if name not in SETTINGS}}


class Blocking:
    """The asyncio client on a loop of its own, called like the blocking one."""

    def __init__(self, *args, **kwargs):
        self._loop = asyncio.Runner()
        try:
            self._client = self._loop.run(self._made(*args, **kwargs))
        except BaseException:
            self._loop.close()
            raise

    async def _made(self, *args, **kwargs):
        return aio.Client(*args, **kwargs)

    def __getattr__(self, name):
        method = getattr(self._client, name)
        return lambda *args, **kwargs: self._loop.run(method(*args, **kwargs))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._loop.run(self._client.close())
        self._loop.close()


@pytest.fixture(params=[Client, Blocking], ids=["blocking", "asyncio"])
def kind(request):
    return request.param


@pytest.fixture
def make(kind):
    return lambda targets, **settings: kind(targets, **divided(settings))


def features(history, candidates):
    """One row a candidate: its number, and the length of the history."""
    return {"x": np.array([[int(item[1:]), len(history)] for item in candidates], np.float32).reshape(-1, 2)}


def inputs(request):
    """The arrays of a request, read as the outputs of an answer, whose messages have the same fields."""
    answer = messages.ModelInferResponse(raw_output_contents=request.raw_input_contents)
    for tensor in request.inputs:
        answer.outputs.add().ParseFromString(tensor.SerializeToString())
    return read_tensors(answer)


def reply(request, raw=True, **arrays):
    work = messages.ModelInferRequest()
    for name, array in arrays.items():
        write_tensor(work, name, array, raw)
    answer = messages.ModelInferResponse(
        model_name=request.model_name, model_version="7", raw_output_contents=work.raw_input_contents
    )
    for tensor in work.inputs:
        answer.outputs.add().ParseFromString(tensor.SerializeToString())
    return answer


def sums(request, context):
    """The scorer: the sum of the features, FP64 [m, 1] as scikit-learn's regressors answer."""
    x = inputs(request)["x"]
    return reply(request, predict=x.sum(axis=1, keepdims=True).astype(np.float64))


def test_a_scorer_of_features_gives_a_float32_score_a_candidate(server, make):
    """c3 and c5 with a history of two: 3 + 2 and 5 + 2."""
    server.answer = sums
    with make(server.target, model="ranker", featurize=features) as client:
        scores = client.score_items(["c1", "c2"], ["c3", "c5"])
    assert scores.dtype == np.float32
    assert scores.tolist() == [5.0, 7.0]
    (request,) = server.requests
    assert request.model_name == "ranker"
    assert [output.name for output in request.outputs] == ["predict"]


def test_candidates_are_ranked_by_score_then_id_without_history_and_exclude(server, make):
    """All score the same but c9, which is owned, and c8, which is excluded; U+FF5E sorts before U+1F600 in UTF-8."""
    server.answer = lambda request, context: reply(request, predict=np.ones(inputs(request)["n"].shape[0], np.float32))
    candidates = ["z", "\U0001f600", "～", "c9", "é", "c8", "a", "z"]
    with make(server.target, model="m", featurize=lambda _, items: {"n": np.zeros((len(items), 1))}) as client:
        found = client.recommend(["c9"], exclude=["c8"], candidates=candidates)
        assert found.items == ["a", "z", "é", "～", "\U0001f600"]
        assert found.scores.tolist() == [1.0] * 5
        assert (found.model, found.version, found.target, found.attempts) == ("m", 7, server.target, 1)
        assert client.recommend(["c9"], exclude=["c8"], candidates=candidates, k=2).items == ["a", "z"]


def test_the_catalogue_is_ranked_where_a_call_gives_no_candidates(server, make):
    server.answer = sums
    with make(server.target, model="m", featurize=features, catalogue=["c1", "c4", "c2"]) as client:
        assert client.recommend(["c1"]).items == ["c4", "c2"]
        assert client.recommend(["c1"], candidates=["c3"]).items == ["c3"]


def test_nobody_is_asked_where_nothing_is_left_to_rank(server, make):
    with make(server.target, model="m", featurize=features) as client:
        found = client.recommend(["c1"], exclude=["c2"], candidates=["c1", "c2"])
        assert (found.items, found.scores.tolist(), found.attempts) == ([], [], 0)
        assert client.score_items(["c1"], []).tolist() == []
    assert server.requests == []


def test_featurize_sees_the_whole_history_and_a_contract_model_the_newest_at_one_width(server, make):
    history = [f"c{number}" for number in range(7)]
    server.answer = sums
    with make(server.target, model="m", featurize=features, history_width=3) as client:
        assert client.score_items(history, ["c0"]).tolist() == [7.0]
    server.answer = lambda request, context: reply(request, items=[["a", ""]], scores=np.float32([[1, -np.inf]]))
    with make(server.target, model="m", history_width=3, exclude_width=2) as client:
        assert client.recommend(history, exclude=["x", "y", "z"]).items == ["a"]
        assert client.recommend(["é"]).items == ["a"]
    first, second = (inputs(request) for request in server.requests[1:])
    assert first["history"].tolist() == [[b"c4", b"c5", b"c6"]]
    cut_off = [b"c0", b"c1", b"c2", b"c3"]
    assert first["exclude"].tolist() == [[b"x", b"y", b"z", *cut_off, b""]]
    assert set(second) == {"history"}
    assert second["history"].tolist() == [["é".encode(), b"", b""]]


@pytest.mark.parametrize("raw", [True, False])
def test_a_contract_model_ranks_by_itself_and_its_padding_is_cut_off(server, make, raw):
    scores = np.float32([[3, 2, -np.inf]])
    server.answer = lambda request, context: reply(request, raw=raw, items=[["b", "ü", ""]], scores=scores)
    with make(server.target, model="m", raw=raw) as client:
        assert client.recommend(["a"]).items == ["b", "ü"]
        best = client.recommend(["a"], k=1)
    assert best.items == ["b"]
    assert best.scores.dtype == np.float32
    assert best.scores.tolist() == [3.0]
    assert all(bool(request.raw_input_contents) == raw for request in server.requests)


def test_candidates_of_a_contract_model_go_in_rows_of_one_width(server, make):
    """Five candidates at width 2: three rows, the last one padded; the scores are their places."""
    server.answer = lambda request, context: reply(
        request, scores=np.arange(6, dtype=np.float32).reshape(inputs(request)["candidates"].shape)
    )
    with make(server.target, model="m", candidates_width=2, history_width=1) as client:
        assert client.score_items(["h"], list("abcde")).tolist() == [0, 1, 2, 3, 4]
        assert client.recommend(["h"], candidates=list("abcde"), k=2).items == ["e", "d"]
    sent = inputs(server.requests[0])
    assert sent["candidates"].tolist() == [[b"a", b"b"], [b"c", b"d"], [b"e", b""]]
    assert sent["history"].tolist() == [[b"h"]] * 3


def test_items_that_the_model_does_not_know_are_not_recommended(server, make):
    server.answer = lambda request, context: reply(request, predict=np.float32([1, -np.inf, 2]))
    with make(server.target, model="m", featurize=features) as client:
        assert client.recommend([], candidates=["c1", "c2", "c3"]).items == ["c3", "c1"]


def test_a_column_of_class_probabilities_is_the_score(server, make):
    server.answer = lambda request, context: reply(request, predict_proba=np.array([[0.75, 0.25], [0.5, 0.5]]))
    settings = {"model": "m", "featurize": features, "scores_output": "predict_proba"}
    with make(server.target, **settings, scores_column=-1) as client:
        assert client.score_items([], ["c1", "c2"]).tolist() == [0.25, 0.5]
    with make(server.target, **settings) as client, pytest.raises(errors.BadResponse, match="see scores_column"):
        client.score_items([], ["c1", "c2"])


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ({"other": [1.0, 2.0]}, "returned no output 'predict'"),
        ({"predict": [1.0]}, "1 rows for 2 candidates"),
        ({"predict": [[1.0, 2.0], [1.0, 2.0]]}, r"shape \[2, 2\]"),
        ({"predict": [[[1.0]], [[1.0]]]}, r"shape \[2, 1, 1\]"),
        ({"predict": 1.0}, r"shape \[\]"),
        ({"predict": ["a", "b"]}, "is text"),
        ({"predict": [1.0, float("nan")]}, "candidate 1 of 2 is not a number"),
    ],
    ids=repr,
)
def test_an_answer_that_breaks_the_protocol_or_the_agreement_is_a_bad_response(server, make, outputs, words):
    server.answer = lambda request, context: reply(request, **outputs)
    with make(server.target, model="m", featurize=features) as client, pytest.raises(errors.BadResponse, match=words):
        client.recommend([], candidates=["c1", "c2"])


@pytest.mark.parametrize(
    "outputs",
    [
        {"items": [["a"]]},
        {"items": [["a"]], "scores": np.array([[1.0]])},
        {"items": [["a"]], "scores": np.float32([[1, 2]])},
        {"items": ["a"], "scores": np.float32([1])},
        {"items": [["a"]] * 2, "scores": np.float32([[1], [1]])},
    ],
    ids=repr,
)
def test_a_contract_model_that_breaks_the_contract_is_a_bad_response(server, make, outputs):
    server.answer = lambda request, context: reply(request, **outputs)
    with make(server.target, model="m") as client, pytest.raises(errors.BadResponse):
        client.recommend(["h"])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda client: client.recommend("abc", candidates=["c1"]), "history is one str"),
        (lambda client: client.recommend([], candidates="c1"), "candidates is one str"),
        (lambda client: client.recommend([], candidates=""), "candidates is one str"),
        (lambda client: client.recommend([], candidates=b"c1"), "candidates is one bytes"),
        (lambda client: client.recommend([], exclude="c1", candidates=["c1"]), "exclude is one str"),
        (lambda client: client.score_items(None, ["c1"]), "history is NoneType"),
        (lambda client: client.predict({"x": [1.0]}, outputs=[1]), "outputs is int 1"),
        (lambda client: client.predict({"x": [1.0]}, metadata={"k": "v"}), "metadata is dict"),
        (lambda client: client.recommend([""], candidates=["c1"]), r"history\[0\] is empty"),
        (lambda client: client.recommend([], exclude=[1], candidates=["c1"]), r"exclude\[0\] is int"),
        (lambda client: client.recommend([], k=0, candidates=["c1"]), "k is 0"),
        (lambda client: client.recommend([]), "pass candidates="),
        (lambda client: client.score_items([], ["c1", ""]), r"candidates\[1\] is empty"),
        (lambda client: client.score_items([], ["c1"], model=""), "model is ''"),
        (lambda client: client.predict([1.0]), "inputs is list"),
        (lambda client: client.predict({"x": [None]}), "input 'x'"),
        (lambda client: client.predict({"x": [1.0]}, outputs="y"), "outputs is one str"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused_before_anything_is_sent(server, make, call, words):
    with (
        make(server.target, model="m", featurize=features) as client,
        pytest.raises(errors.InvalidRequest, match=words),
    ):
        call(client)
    assert server.requests == []


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda items: [1.0] * len(items), "returned list"),
        (lambda items: {}, "returned dict"),
        (lambda items: {"x": np.zeros((len(items) + 1, 1))}, "for 1 candidates"),
        (lambda items: {"x": 1.0}, r"the shape \[\]"),
    ],
)
def test_features_that_are_not_one_row_a_candidate_are_refused(server, make, made, words):
    with (
        make(server.target, model="m", featurize=lambda _, items: made(items)) as client,
        pytest.raises(errors.InvalidRequest, match=words),
    ):
        client.score_items([], ["c1"])
    assert server.requests == []


@pytest.mark.parametrize(
    "settings",
    [{"featurize": "x"}, {"scores_output": ""}, {"catalogue": "abc"}, {"catalogue": ["a", ""]}],
    ids=repr,
)
def test_settings_that_cannot_be_meant_are_refused(server, make, settings):
    with pytest.raises((TypeError, ValueError)):
        make(server.target, **settings)


def test_predict_sends_any_tensors_and_reads_all_or_the_named_outputs(server, make):
    server.answer = lambda request, context: reply(request, y=inputs(request)["x"] * 2, n=np.int64(3), s=["a"])
    with make(server.target, model="m", version=3) as client:
        found = client.predict({"x": [1.0, 2.0]})
        assert {name: array.tolist() for name, array in found.outputs.items()} == {"y": [2, 4], "n": 3, "s": [b"a"]}
        assert (found.model, found.version, found.signature, found.attempts) == ("m", 7, "", 1)
        with pytest.raises(errors.BadResponse, match="lacks the outputs \\['z'\\]"):
            client.predict({"x": [1.0]}, outputs=["y", "z"])
    assert [request.model_version for request in server.requests] == ["3", "3"]
    assert [output.name for output in server.requests[1].outputs] == ["y", "z"]


def test_a_version_that_is_a_word_is_told_as_none(server, make):
    def worded(request, context):
        answer = sums(request, context)
        answer.model_version = "v0.1.0"
        return answer

    server.answer = worded
    with make(server.target, model="m", featurize=features) as client:
        assert client.recommend([], candidates=["c1"]).version is None
    assert server.requests[0].model_version == ""


def test_bytes_that_are_no_message_are_a_bad_response(server, make):
    server.answer = lambda request, context: messages.ModelInferResponse(raw_output_contents=[b"1"])
    with make(server.target, model="m") as client, pytest.raises(errors.BadResponse, match="1 raw contents"):
        client.predict({"x": [1.0]})


def test_an_error_of_the_server_is_typed_and_says_where(server, make):
    def unknown(request, context):
        context.abort(grpc.StatusCode.NOT_FOUND, "Model m not found")

    server.answer = unknown
    with make(server.target, model="m") as client, pytest.raises(errors.NotFound, match="Model m not found") as caught:
        client.predict({"x": [1.0]})
    assert (caught.value.target, caught.value.model, caught.value.attempts) == (server.target, "m", 1)


def test_a_server_that_is_away_for_a_moment_is_asked_again(server, make):
    calls = itertools.count()

    def unavailable_once(request, context):
        if next(calls) == 0:
            context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
        return sums(request, context)

    server.answer = unavailable_once
    with make(server.target, model="m", featurize=features, retry=Retry(first_delay_s=0.001)) as client:
        assert client.recommend([], candidates=["c1"], timeout_s=20.0).attempts == 2


def test_a_server_that_hangs_ends_with_the_deadline_that_it_was_told(server, make):
    release, told_s = threading.Event(), []

    def hangs(request, context):
        told_s.append(context.time_remaining())
        release.wait(20)

    server.answer = hangs
    with make(server.target, model="m", featurize=features, timeout_s=20.0) as client:
        with pytest.raises(errors.DeadlineExceeded):
            client.score_items([], ["c1"], timeout_s=0.3)
        release.set()
    assert told_s[0] <= 0.3


def test_a_slow_replica_is_hedged_by_the_other(make):
    release = threading.Event()
    asked = itertools.count()

    def first_hangs(request, context):
        if next(asked) == 0:
            release.wait(20)
        return sums(request, context)

    with inference_servers(2) as servers:
        for one in servers:
            one.answer = first_hangs
        targets = [one.target for one in servers]
        with make(targets, model="m", featurize=features, hedge=Hedge(after_s=0.02)) as client:
            found = client.recommend([], candidates=["c1"], timeout_s=20.0)
        release.set()
        assert found.attempts == 2
        assert found.items == ["c1"]
        assert [len(one.requests) for one in servers] == [1, 1]


class Heard:
    """An observer that keeps what it is told."""

    def __init__(self):
        self.attempts, self.calls = [], []

    def attempt(self, attempt):
        self.attempts.append((attempt.method, attempt.model, attempt.code))

    def call(self, call):
        self.calls.append((call.method, call.model, call.version, call.code, call.error))


def test_observers_hear_of_every_attempt_and_call(server, make):
    server.answer = sums
    heard = Heard()
    with make(server.target, model="m", featurize=features, observers=[heard]) as client:
        client.recommend([], candidates=["c1"])
    assert heard.attempts == [("ModelInfer", "m", "OK")]
    assert heard.calls == [("ModelInfer", "m", 7, "OK", "")]


def test_ready_is_what_the_server_says_and_waiting_ends_with_the_last_thing_heard(server, make):
    with make(server.target, model="m") as client:
        assert client.ready() is True
        client.wait_until_ready(5.0)
        server.ready = False
        assert client.ready() is False
        with pytest.raises(errors.DeadlineExceeded, match="says that it is not ready"):
            client.wait_until_ready(0.1)
        timer = threading.Timer(0.1, setattr, (server, "ready", True))
        timer.start()
        client.wait_until_ready(20.0)
        timer.join()


def test_a_closed_client_says_so(server, make):
    with make(server.target, model="m") as client:
        client.close()
        with pytest.raises(errors.ClientClosed):
            client.predict({"x": [1.0]})
        with pytest.raises(errors.ClientClosed):
            client.wait_until_ready(5.0)


UNSUPPORTED = {
    "recommend_many()": lambda client: client.recommend_many([["c1"]]),
    "explain()": lambda client: client.explain(["c1"], ["c2"]),
    "status()": lambda client: client.status(),
    "metadata()": lambda client: client.metadata(),
    "reload_config()": lambda client: client.reload_config("model_config_list {}"),
    "signature=": lambda client: client.predict({"x": [1.0]}, signature="explain"),
    "version_label=": lambda client: client.predict({"x": [1.0]}, version_label="stable"),
}


@pytest.mark.parametrize("what", UNSUPPORTED)
def test_what_the_protocol_lacks_is_refused_before_anything_is_sent(server, make, what):
    heard = Heard()
    words = f"the Open Inference Protocol does not support {re.escape(what)}"
    with (
        make(server.target, model="m", observers=[heard]) as client,
        pytest.raises(errors.NotSupported, match=words) as caught,
    ):
        UNSUPPORTED[what](client)
    assert caught.value.attempts == 0
    assert (server.requests, heard.attempts, heard.calls) == ([], [], [])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda client: client.ready(), r"does not support ready\(\); call status\(\)"),
        (lambda client: client.recommend([], candidates=["c1"]), r"does not support candidates=; call score_items\(\)"),
    ],
)
def test_what_tensorflow_serving_lacks_is_refused_before_anything_is_sent(server, kind, call, words):
    heard = Heard()
    with (
        kind(server.target, model="m", observers=[heard]) as client,
        pytest.raises(errors.NotSupported, match=f"TensorFlow Serving {words}"),
    ):
        call(client)
    assert (server.requests, heard.attempts, heard.calls) == ([], [], [])


def test_a_protocol_that_is_none_and_a_label_that_it_lacks_are_refused(server, kind, make):
    with pytest.raises(TypeError, match=r"protocol is str; pass TensorFlowServing\(\) or OpenInference\(\)"):
        kind(server.target, protocol="v2")
    with pytest.raises(ValueError, match="version_label is 'stable'; the Open Inference Protocol has no labels"):
        make(server.target, model="m", version_label="stable")


@pytest.mark.parametrize(
    ("alias", "client", "words"),
    [
        (open_inference.OpenInferenceClient, Client, r"use Client\(\.\.\., protocol=OpenInference\(\.\.\.\)\)"),
        (aio_open_inference.OpenInferenceClient, aio.Client, r"use aio\.Client\(\.\.\., protocol=OpenInference"),
    ],
)
def test_the_alias_warns_where_it_is_called_and_makes_that_client(alias, client, words):
    with pytest.warns(DeprecationWarning, match=words) as warned:
        made = alias("localhost:1", model="m", featurize=features, catalogue=["c1"], version=3, timeout_s=2.0)
    assert warned[0].filename == __file__
    assert isinstance(made, client)
    expected = client(
        "localhost:1", protocol=OpenInference(features, catalogue=["c1"]), model="m", version=3, timeout_s=2.0
    )
    assert made._settings == expected._settings
    if client is Client:
        made.close()
        expected.close()


def test_close_ends_a_wait_for_readiness(server):
    server.ready = False
    client = Client(server.target, model="m", protocol=OpenInference())
    timer = threading.Timer(0.3, client.close)
    timer.start()
    began_s = time.monotonic()
    with pytest.raises(errors.ClientClosed):
        client.wait_until_ready(60.0)
    assert time.monotonic() - began_s < 20.0
    timer.join()


def test_the_default_client_loads_neither_this_protocol_nor_the_asyncio_client():
    program = (
        "import sys\n"
        "from serving_client import Client\n"
        "Client('localhost:1').close()\n"
        "loaded = {name for name in sys.modules if name.startswith('serving_client.')}\n"
        "print(sorted(name for name in loaded if 'open_inference' in name or 'aio' in name))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


IDS = st.sampled_from(["a", "b", "é", "～", "\U0001f600", "aa"])


@given(
    history=st.lists(IDS),
    exclude=st.lists(IDS, max_size=2),
    candidates=st.lists(IDS),
    scores=st.lists(st.sampled_from([0.0, -0.0, 1.0, float("inf"), float("-inf")]), min_size=6, max_size=6),
    k=st.one_of(st.none(), st.integers(1, 7)),
)
def test_the_ranking_is_the_obvious_one(history, exclude, candidates, scores, k):
    """Oracle: sort the set of what is left by (-score, UTF-8), cut at k."""
    table = dict(zip(["a", "b", "é", "～", "\U0001f600", "aa"], scores, strict=True))
    left = {item for item in candidates if item not in history and item not in exclude}
    known = [item for item in left if table[item] != float("-inf")]
    expected = sorted(known, key=lambda item: (-table[item], item.encode()))[:k]

    scorer = OpenInference(featurize=lambda _, items: {"x": np.float32([table[item] for item in items])})
    operation = recommend(Spec("m", None, None), scorer, Widths(4, 4, 4), history, exclude, k, candidates)
    if operation is None:
        assert not left
        return
    request = messages.ModelInferRequest.FromString(operation.request)
    answer = reply(request, predict=inputs(request)["x"]).SerializeToString()
    found = operation.read(answer, Origin("t", 1))
    assert found.items == expected
    assert found.scores.tolist() == [table[item] for item in expected]


def test_iterators_reach_the_server_and_the_ranking_whole(server, make):
    server.answer = sums
    with make(server.target, model="m", featurize=features, catalogue=(one for one in ["c1", "c4", "c2"])) as client:
        assert client.recommend(iter(["c1"]), exclude=iter(["c2"])).items == ["c4"]
        found = client.recommend(iter(["c1"]), exclude=iter(["c2"]), candidates=iter(["c1", "c2", "c3", "c5"]))
        assert (found.items, found.scores.tolist()) == (["c5", "c3"], [6, 4])
        assert client.recommend(["c1"], exclude=None).items == ["c4", "c2"]
        assert client.score_items(iter(["c1", "c2"]), iter(["c3", "c5"])).tolist() == [5, 7]
    server.answer = lambda request, context: reply(request, items=[["a"]], scores=np.float32([[1]]))
    with make(server.target, model="m", history_width=2, exclude_width=2) as client:
        assert client.recommend(iter(["b"]), exclude=iter(["c"])).items == ["a"]
    sent = inputs(server.requests[-1])
    assert (sent["history"].tolist(), sent["exclude"].tolist()) == ([[b"b", b""]], [[b"c", b""]])


def test_the_time_that_featurize_takes_is_of_the_calls_own(server, make):
    def slow(history, candidates):
        time.sleep(0.12)
        return features(history, candidates)

    with (
        make(server.target, model="m", featurize=slow, catalogue=["c1"]) as client,
        pytest.raises(errors.DeadlineExceeded, match=r"the deadline of 0\.1 s passed"),
    ):
        client.recommend([], timeout_s=0.1)
    assert server.requests == []


POPULAR = Popularity(["p0"], [1.0])


def test_a_fallback_over_this_client_recommends_and_what_featurize_raises_goes_through(server, kind, make):
    server.answer = sums
    blocking = kind is Client

    def fallback(client):
        rungs = [Rung(client if blocking else client._client, model="m")]
        if blocking:
            return Fallback(rungs, POPULAR, timeout_s=5.0).recommend
        chain = aio_fallback.Fallback(rungs, POPULAR, timeout_s=5.0)
        return lambda history: client._loop.run(chain.recommend(history))

    with make(server.target, featurize=features, catalogue=["c1", "c4"]) as client:
        found = fallback(client)(["c1"])
        assert (found.items, found.rung, found.attempts) == (["c4"], "model m", 1)
        server.answer = lambda request, context: context.abort(grpc.StatusCode.INTERNAL, "no")
        assert fallback(client)(["c1"]).rung == "popularity"
    with (
        make(server.target, featurize=lambda _, candidates: candidates[9], catalogue=["c1"]) as client,
        pytest.raises(IndexError),
    ):
        fallback(client)([])
