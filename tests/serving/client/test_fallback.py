"""Fallback and aio_fallback: a list within the deadline whatever the servers do; one suite on both, real servers.

Two servers, "first" with model vae and "second" with model cf, and a popularity of c00 … c49. Breakers run on a clock
that a test moves; deadlines are real time.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import time

import grpc
import prometheus_client
import pytest

from serving_client import aio, aio_fallback, fallback
from serving_client.breaker import CircuitBreaker
from serving_client.client import Client
from serving_client.errors import ClientClosed, InvalidRequest
from serving_client.fallback_chain import Rung
from serving_client.popularity import Popularity
from serving_client.prometheus import PrometheusObserver
from tests.serving.client.rung_server import Answer, Fail, Hang, Nonsense, RungServer

POPULAR = Popularity([f"c{number:02d}" for number in range(50)], [50.0 - number for number in range(50)])
TIMEOUT_S = 1.0
LATE_S = 0.25
"""What a busy machine of two cores may add to a deadline."""


class Clock:
    """Seconds that pass when a test says so."""

    now_s = 0.0

    def __call__(self):
        return self.now_s


class Records:
    def __init__(self):
        self.calls = []

    def attempt(self, attempt):
        raise AssertionError("a fallback sends nothing itself")

    def call(self, call):
        self.calls.append(call)


class Blocking:
    """The suite's way to the blocking classes."""

    def __init__(self):
        self.opened = []

    def client(self, *arguments, **options):
        self.opened.append(Client(*arguments, **options))
        return self.opened[-1]

    def fallback(self, *arguments, **options):
        return fallback.Fallback(*arguments, **options)

    def recommend(self, chain, *arguments, **options):
        return chain.recommend(*arguments, **options)

    def close(self, client):
        client.close()

    def end(self):
        for client in self.opened:
            client.close()


class Async:
    """The same names over the asyncio classes."""

    def __init__(self):
        self.runner = asyncio.Runner()
        self.opened = []

    def client(self, *arguments, **options):
        async def make():
            return aio.Client(*arguments, **options)

        self.opened.append(self.runner.run(make()))
        return self.opened[-1]

    def fallback(self, *arguments, **options):
        return aio_fallback.Fallback(*arguments, **options)

    def recommend(self, chain, *arguments, **options):
        return self.runner.run(chain.recommend(*arguments, **options))

    def close(self, client):
        self.runner.run(client.close())

    def end(self):
        for client in self.opened:
            self.close(client)
        self.runner.close()


@pytest.fixture(params=[Blocking, Async])
def kind(request):
    made = request.param()
    yield made
    made.end()


@pytest.fixture
def servers():
    with RungServer() as first, RungServer() as second:
        first.behave("vae", Answer(("v0", "v1", "v2")))
        second.behave("cf", Answer(("f0", "f1", "f2")))
        yield first, second


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def chain(kind, servers, clock):
    """A Fallback over both servers with breakers that open after 3 failures for 10 s, and TIMEOUT_S for a call."""
    return make_chain(kind, servers, clock)


def make_chain(kind, servers, clock, timeout_s=TIMEOUT_S, **options):
    rungs = [
        Rung(kind.client(server.target), model=model, breaker=CircuitBreaker(3, 10.0, clock=clock))
        for server, model in zip(servers, ("vae", "cf"), strict=True)
    ]
    return kind.fallback(rungs, POPULAR, timeout_s=timeout_s, **options)


def timed(kind, chain, *arguments, **options):
    started_at = time.monotonic()
    answer = kind.recommend(chain, *arguments, **options)
    return answer, time.monotonic() - started_at


def test_the_first_model_answers_and_the_others_are_not_asked(kind, servers, chain):
    answer = kind.recommend(chain, ["c07"], k=2)
    assert (answer.items, answer.rung, answer.model, answer.version) == (["v0", "v1"], "model vae", "vae", 7)
    assert answer.target == servers[0].target
    assert servers[1].asked("cf") == 0


def test_history_exclude_and_k_reach_the_model(kind, servers, chain):
    answer = kind.recommend(chain, ["c07", "c08"], exclude=["v1"], k=5)
    assert answer.items == ["v0", "v2"]
    (request,) = servers[0].requests
    assert request.model_spec.signature_name == "filtered"
    assert [item for item in request.inputs["history"].string_val if item] == [b"c07", b"c08"]


def test_a_rung_asks_for_its_version_or_label(kind, servers):
    rungs = [
        Rung(kind.client(servers[0].target), model="vae", version=7),
        Rung(kind.client(servers[0].target), model="vae", version_label="stable", name="stable vae"),
    ]
    servers[0].behave("vae", Nonsense())
    kind.recommend(kind.fallback(rungs, POPULAR), ["c07"])
    assert [request.model_spec.version.value for request in servers[0].requests] == [7, 0]
    assert [request.model_spec.version_label for request in servers[0].requests] == ["", "stable"]


def test_the_second_model_answers_in_time_where_the_first_hangs(kind, servers, chain):
    servers[0].behave("vae", Hang())
    answer, seconds = timed(kind, chain, ["c07"])
    assert (answer.items, answer.rung) == (["f0", "f1", "f2"], "model cf")
    assert seconds < TIMEOUT_S * 0.7 + LATE_S  # what the first was given, and no more
    assert servers[0].asked("vae") == 1


def test_the_second_model_answers_at_once_where_the_first_server_is_dead(kind, servers, chain):
    servers[0].stop()
    answer, _ = timed(kind, chain, ["c07"])
    assert answer.rung == "model cf"


def test_popularity_answers_without_the_users_items_where_both_are_dead(kind, servers, chain):
    servers[0].stop()
    servers[1].stop()
    answer, seconds = timed(kind, chain, ["c00", "c02"], exclude=["c03", "x"], k=3)
    assert (answer.items, answer.scores.tolist(), answer.rung) == (
        ["c01", "c04", "c05"],
        [49.0, 46.0, 45.0],
        "popularity",
    )
    assert seconds < TIMEOUT_S


def test_popularity_answers_within_the_deadline_where_both_hang(kind, servers, chain):
    servers[0].behave("vae", Hang())
    servers[1].behave("cf", Hang())
    answer, seconds = timed(kind, chain, ["c00"])
    assert answer.rung == "popularity"
    assert TIMEOUT_S / 2 < seconds < TIMEOUT_S + LATE_S


def test_a_call_may_have_a_deadline_of_its_own(kind, servers, chain):
    servers[0].behave("vae", Hang())
    servers[1].behave("cf", Hang())
    answer, seconds = timed(kind, chain, ["c00"], timeout_s=0.05)
    assert answer.rung == "popularity"
    assert seconds < 0.05 + LATE_S


@pytest.mark.parametrize(
    "behaviour",
    [
        Fail(grpc.StatusCode.UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full"),
        Fail(grpc.StatusCode.RESOURCE_EXHAUSTED),
        Fail(grpc.StatusCode.INTERNAL),
        Fail(grpc.StatusCode.UNKNOWN),
        Fail(grpc.StatusCode.CANCELLED),
        Fail(grpc.StatusCode.PERMISSION_DENIED),
        Fail(grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(vae)"),
        Fail(grpc.StatusCode.FAILED_PRECONDITION, "Failed precondition"),
        Nonsense(),
        Nonsense(b""),
    ],
    ids=str,
)
def test_a_failing_model_is_passed_over_and_after_three_calls_no_longer_asked(behaviour, kind, servers, chain):
    servers[0].behave("vae", behaviour)
    for _ in range(3):
        assert kind.recommend(chain, ["c07"], timeout_s=5.0).rung == "model cf"
    asked = servers[0].asked("vae")
    assert asked >= 3  # the client may have repeated some
    for _ in range(5):
        assert kind.recommend(chain, ["c07"], timeout_s=5.0).rung == "model cf"
    assert servers[0].asked("vae") == asked


def test_with_the_breaker_of_a_hanging_server_open_calls_are_fast_again(kind, servers, clock):
    chain = make_chain(kind, servers, clock, timeout_s=0.6)
    servers[0].behave("vae", Hang())
    for _ in range(3):
        kind.recommend(chain, ["c07"])
    _, seconds = timed(kind, chain, ["c07"])
    assert seconds < 0.6 * 0.7  # what the first one would have been given
    assert servers[0].asked("vae") == 3


def test_after_a_while_one_call_tries_and_its_success_brings_the_model_back(kind, servers, chain, clock):
    servers[0].behave("vae", Fail(grpc.StatusCode.INTERNAL))
    for _ in range(4):
        kind.recommend(chain, ["c07"])
    servers[0].behave("vae", Answer(("v0",)))
    clock.now_s = 9.9
    assert kind.recommend(chain, ["c07"]).rung == "model cf"
    clock.now_s = 10.0
    assert kind.recommend(chain, ["c07"]).rung == "model vae"
    servers[0].behave("vae", Fail(grpc.StatusCode.INTERNAL))  # closed again: it takes three failures anew
    asked = servers[0].asked("vae")
    for _ in range(4):
        kind.recommend(chain, ["c07"])
    assert servers[0].asked("vae") == asked + 3


def test_a_trial_that_fails_keeps_the_model_out_for_another_while(kind, servers, chain, clock):
    servers[0].behave("vae", Fail(grpc.StatusCode.INTERNAL))
    for _ in range(3):
        kind.recommend(chain, ["c07"])
    clock.now_s = 10.0
    assert kind.recommend(chain, ["c07"]).rung == "model cf"
    assert servers[0].asked("vae") == 4
    servers[0].behave("vae", Answer())
    clock.now_s = 19.9
    assert kind.recommend(chain, ["c07"]).rung == "model cf"
    clock.now_s = 20.0
    assert kind.recommend(chain, ["c07"]).rung == "model vae"


def test_a_restarted_server_is_asked_again(kind, servers, chain, clock):
    servers[0].stop()
    for _ in range(3):
        assert kind.recommend(chain, ["c07"]).rung == "model cf"
    servers[0].start()
    until = time.monotonic() + 20.0
    while kind.recommend(chain, ["c07"]).rung != "model vae":  # gRPC waits up to 1 s before it connects again
        assert time.monotonic() < until
        clock.now_s += 10.0


@pytest.mark.parametrize("mistake", [{"history": "c07"}, {"history": ["c07", ""]}, {"history": [7]}, {"exclude": "c1"}])
@pytest.mark.parametrize("dead", [False, True])
def test_a_callers_mistake_is_raised_whoever_would_have_answered(mistake, dead, kind, servers, chain):
    if dead:
        for server in servers:
            server.stop()
    with pytest.raises(InvalidRequest):
        kind.recommend(chain, **{"history": ["c07"], **mistake})


@pytest.mark.parametrize(
    "mistake", [{"k": 0}, {"k": 1.5}, {"k": True}, {"timeout_s": 0.0}, {"timeout_s": float("inf")}]
)
def test_a_number_that_cannot_be_meant_is_raised_before_anyone_is_asked(mistake, kind, servers, chain):
    with pytest.raises(InvalidRequest):
        kind.recommend(chain, ["c07"], **mistake)
    assert servers[0].requests == []


@pytest.mark.parametrize(
    "behaviour",
    [
        Fail(grpc.StatusCode.INVALID_ARGUMENT, "Expects arg[0] to be string"),
        Fail(grpc.StatusCode.OUT_OF_RANGE),
        Fail(grpc.StatusCode.ALREADY_EXISTS),
        Fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max (5 vs. 4)"),
        Fail(grpc.StatusCode.FAILED_PRECONDITION, "Tensors with name 'x' have different shapes and padding is off"),
    ],
    ids=str,
)
def test_what_one_server_calls_invalid_is_asked_of_the_next_and_counts(behaviour, kind, servers, chain):
    servers[0].behave("vae", behaviour)
    for _ in range(5):
        assert kind.recommend(chain, ["c07"]).rung == "model cf"
    assert servers[0].asked("vae") == 3


def test_a_model_that_answers_no_item_leaves_the_page_to_the_next(kind, servers, chain):
    servers[0].behave("vae", Answer(()))
    assert kind.recommend(chain, ["c07"]).rung == "model cf"
    servers[1].behave("cf", Answer(()))
    assert kind.recommend(chain, ["c07"], k=1).items == ["c00"]
    assert servers[0].asked("vae") == 2


def test_none_of_a_history_longer_than_a_row_is_recommended_whoever_answers(kind, servers, chain):
    history = ["v1", "f1", "c01", *(f"x{number}" for number in range(128))]
    assert kind.recommend(chain, history).items == ["v0", "v2"]
    servers[0].stop()
    assert kind.recommend(chain, history).items == ["f0", "f2"]
    servers[1].stop()
    assert kind.recommend(chain, history, k=2).items == ["c00", "c02"]


def test_what_is_sent_is_checked_at_any_place_and_no_exclude_is_none(kind, servers, chain):
    with pytest.raises(InvalidRequest, match=r"history\[0\] is empty"):
        kind.recommend(chain, ["", *(f"x{number}" for number in range(128))])
    assert kind.recommend(chain, (one for one in ["c07"]), exclude=None).rung == "model vae"


def test_a_model_without_the_signature_is_passed_over_for_that_call_alone(kind, servers, chain):
    servers[0].behave("vae", Fail(grpc.StatusCode.FAILED_PRECONDITION, 'Serving signature key "filtered" not found.'))
    for _ in range(5):
        assert kind.recommend(chain, ["c07"], exclude=["c08"]).rung == "model cf"
    servers[0].behave("vae", Answer())
    assert kind.recommend(chain, ["c07"]).rung == "model vae"


def test_calls_with_less_time_than_usual_open_no_breaker(kind, servers, chain):
    kind.recommend(chain, ["c07"])  # connects
    servers[0].behave("vae", Hang())
    for _ in range(4):
        kind.recommend(chain, ["c07"], timeout_s=0.03)
    assert servers[0].asked("vae") > 1
    servers[0].behave("vae", Answer())
    assert kind.recommend(chain, ["c07"]).rung == "model vae"


def test_a_closed_client_is_the_callers_mistake(kind, servers, clock):
    client = kind.client(servers[0].target)
    chain = kind.fallback([Rung(client, model="vae")], POPULAR)
    kind.close(client)
    with pytest.raises(ClientClosed):
        kind.recommend(chain, ["c07"])


def test_observers_learn_which_rung_answered_and_what_was_raised(kind, servers, clock):
    records = Records()
    chain = make_chain(kind, servers, clock, timeout_s=5.0, observers=[records])
    kind.recommend(chain, ["c07"])
    servers[0].behave("vae", Nonsense())
    kind.recommend(chain, ["c07"])
    servers[1].behave("cf", Nonsense())
    kind.recommend(chain, ["c07"])
    kind.close(kind.opened[0])
    with pytest.raises(ClientClosed):
        kind.recommend(chain, ["c07"])
    told = [(call.method, call.rung, call.model, call.attempts, call.code, call.error) for call in records.calls]
    assert told == [
        ("Fallback", "model vae", "vae", 1, "OK", ""),
        ("Fallback", "model cf", "cf", 2, "OK", ""),
        ("Fallback", "popularity", "", 2, "OK", ""),
        ("Fallback", "", "", 0, "UNKNOWN", "ClientClosed"),
    ]
    assert all(0.0 < call.seconds < 5.0 for call in records.calls)


def test_a_rung_whose_model_does_not_exist_is_logged_and_counted_and_other_failures_are_not(
    kind, servers, clock, caplog
):
    """A misspelt model is a mistake in the configuration, a server that is down is not. One warning per minute."""
    records, registry = Records(), prometheus_client.CollectorRegistry()
    rungs = [
        Rung(kind.client(servers[0].target), model=model, breaker=CircuitBreaker(100, clock=clock))
        for model in ("vaee", "vae")
    ]
    servers[0].behave("vae", Fail(grpc.StatusCode.UNAVAILABLE))
    chain = kind.fallback(rungs, POPULAR, observers=[records, PrometheusObserver(registry)], clock=clock)
    for now_s in (0.0, 1.0, 59.0, 60.0):
        clock.now_s = now_s
        assert kind.recommend(chain, ["c07"]).rung == "popularity"
    assert [call.not_found for call in records.calls] == [("model vaee",)] * 4
    assert registry.get_sample_value("serving_client_not_found_total", {"rung": "model vaee"}) == 4.0
    assert registry.get_sample_value("serving_client_not_found_total", {"rung": "model vae"}) is None
    warnings = [(one.levelname, one.getMessage()) for one in caplog.records if one.name == "serving_client"]
    assert [level for level, _ in warnings] == ["WARNING"] * 2
    command = f"`serving-client status --server={servers[0].target} --model=NAME` lists the versions of a model"
    for (_, text), calls in zip(warnings, ("1 call", "3 calls"), strict=True):
        assert text.startswith(f"fallback: rung 'model vaee' failed with NotFound in {calls} since the last warning: ")
        assert text.endswith(command)


def test_threads_get_their_lists_in_time_while_the_first_server_hangs(servers, clock):
    blocking = Blocking()
    chain = make_chain(blocking, servers, clock)
    servers[0].behave("vae", Hang())
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: timed(blocking, chain, ["c07"]), range(48)))
    blocking.end()
    assert {answer.rung for answer, _ in answers} <= {"model cf", "popularity"}
    assert all(answer.items for answer, _ in answers)
    assert max(seconds for _, seconds in answers) < TIMEOUT_S + LATE_S
    assert servers[0].asked("vae") <= 16 + 3  # those on their way when the breaker opened, and no more


def test_a_cancelled_task_gives_its_trial_back(servers, clock):
    """Half open lets one call through; were a cancelled one counted, the model would never be asked again."""

    async def scenario():
        async with aio.Client(servers[0].target) as client:
            breaker = CircuitBreaker(1, 10.0, clock=clock)
            chain = aio_fallback.Fallback([Rung(client, model="vae", breaker=breaker)], POPULAR, timeout_s=30.0)
            servers[0].behave("vae", Fail(grpc.StatusCode.INTERNAL))
            await chain.recommend(["c07"])
            clock.now_s = 10.0
            servers[0].behave("vae", Hang())
            task = asyncio.create_task(chain.recommend(["c07"]))
            while servers[0].asked("vae") < 2:
                await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            servers[0].behave("vae", Answer())
            assert (await chain.recommend(["c07"])).rung == "model vae"

    asyncio.run(scenario())


def test_both_kinds_have_the_same_signatures():
    for name in ("__init__", "recommend"):
        ours, theirs = (inspect.signature(getattr(kind.Fallback, name)) for kind in (fallback, aio_fallback))
        assert [str(one) for one in ours.parameters.values()] == [str(one) for one in theirs.parameters.values()]
    assert inspect.iscoroutinefunction(aio_fallback.Fallback.recommend)
