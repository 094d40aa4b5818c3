"""Recommender, blocking and asyncio: the drawn arm's model, the default arm's, popular items; real servers.

One RungServer has the models cf and vae of the arms with these names. cf is the default arm. The arm vae is drawn if a
request allows only vae, and then cf may not be shown in its place; a policy with fixed weights draws vae otherwise.
"""

from __future__ import annotations

import asyncio
import inspect

import grpc
import numpy as np
import pytest

from serving_client import aio as aio_client
from serving_client.breaker import CircuitBreaker
from serving_client.client import Client
from serving_client.errors import InvalidRequest
from serving_client.open_inference import OpenInference
from serving_client.popularity import Popularity
from serving_client.protocol import messages
from serving_client.router import aio, recommender
from serving_client.router.router import Router
from tests.serving.client.open_inference_server import inference_servers
from tests.serving.client.rung_server import VERSION, Answer, Fail, Hang, RungServer
from tests.serving.router.world import Log, Shelf, bandits, snapshot

POPULAR = Popularity(["p0", "p1", "p2"], [3.0, 2.0, 1.0])
ALWAYS_VAE = {"kind": "fixed", "weights": {"vae": 1}}
STATES = {"cf": "active", "vae": "draining", "new": "retired"}
DOWN = Fail(grpc.StatusCode.UNAVAILABLE)
BROKEN = Fail(grpc.StatusCode.INTERNAL)  # which a client does not retry


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


class Blocking:
    """The suite's way to the blocking classes."""

    def __init__(self):
        self.opened = []

    def client(self, target, **options):
        self.opened.append(Client(target, **options))
        return self.opened[-1]

    def recommender(self, *arguments, **options):
        return recommender.Recommender(*arguments, **options)

    def recommend(self, made, *arguments, **options):
        return made.recommend(*arguments, **options)

    def end(self):
        for client in self.opened:
            client.close()


class Async:
    """The same names over the asyncio classes."""

    def __init__(self):
        self.runner = asyncio.Runner()
        self.opened = []

    def client(self, target, **options):
        async def make():
            return aio_client.Client(target, **options)

        self.opened.append(self.runner.run(make()))
        return self.opened[-1]

    def recommender(self, *arguments, **options):
        return aio.Recommender(*arguments, **options)

    def recommend(self, made, *arguments, **options):
        return self.runner.run(made.recommend(*arguments, **options))

    def end(self):
        for client in self.opened:
            self.runner.run(client.close())
        self.runner.close()


@pytest.fixture(params=[Blocking, Async])
def kind(request):
    made = request.param()
    yield made
    made.end()


@pytest.fixture(scope="module")
def model_server():
    with RungServer() as started:
        yield started


@pytest.fixture
def models(model_server):
    model_server.behave("cf", Answer(("f0", "f1")))
    model_server.behave("vae", Answer(("v0", "v1", "v2")))
    model_server.requests.clear()
    return model_server


@pytest.fixture
def log():
    return Log()


def make(kind, models, log, *, breaker=CircuitBreaker, **changes):
    of = bandits(**({"policy": ALWAYS_VAE} | changes))
    router = Router(of, snapshots=Shelf(snapshot(of)), log=log)
    return kind.recommender(router, "home_row", kind.client(models.target), POPULAR, breaker=breaker)


def test_the_drawn_arms_model_answers_and_the_decision_is_logged(kind, models, log):
    shown = kind.recommend(make(kind, models, log), "u1", ["c07"], {"plan": "free"}, exclude=["v1"], k=5)
    assert [(item.item_id, item.position) for item in shown.items] == [("v0", 0), ("v2", 1)]
    assert (shown.served_by, shown.model, shown.model_version, shown.fallback_reason) == ("vae", "vae", VERSION, None)
    (line,) = log.decisions
    assert line["decision_id"] == shown.decision_id == shown.decision.decision_id
    assert (line["arm_id"], line["items"], line["model_version"]) == ("vae", ["v0", "v2"], VERSION)
    assert (line["user_key"], line["segment"]) == ("u1", "free")
    assert not {"served_by", "fallback_reason"} & line.keys()
    assert models.asked("cf") == 0


def test_the_default_arm_answers_for_a_model_that_fails(kind, models, log):
    models.behave("vae", DOWN)
    shown = kind.recommend(make(kind, models, log), "u1", ["c07"], {"plan": "free"})
    assert ([item.item_id for item in shown.items], shown.served_by, shown.model) == (["f0", "f1"], "cf", "cf")
    (line,) = log.decisions
    assert (line["arm_id"], line["propensity"], line["propensities"]) == ("vae", 1.0, shown.decision.propensities)
    assert (line["served_by"], line["fallback_reason"], line["items"]) == ("cf", "unavailable", ["f0", "f1"])


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (Fail(grpc.StatusCode.NOT_FOUND), "not_found"),
        (Fail(grpc.StatusCode.RESOURCE_EXHAUSTED), "overloaded"),
        (Answer(()), "no_items"),
        (Hang(), "deadline_exceeded"),
    ],
)
def test_the_reason_of_a_fallback_is_logged(kind, models, log, behaviour, reason):
    models.behave("vae", behaviour)
    kind.recommend(make(kind, models, log), "u1", ["c07"], timeout_s=0.5)
    assert (log.decisions[0]["fallback_reason"], log.decisions[0]["served_by"]) == (reason, "cf")


def test_popular_items_are_shown_if_both_models_fail(kind, models, log):
    for model in ("cf", "vae"):
        models.behave(model, DOWN)
    shown = kind.recommend(make(kind, models, log), None, ["p1"], k=2)
    assert ([item.item_id for item in shown.items], shown.served_by, shown.model_version) == (
        ["p0", "p2"],
        "popularity",
        None,
    )
    (line,) = log.decisions
    assert (line["arm_id"], line["served_by"], line["fallback_reason"]) == ("vae", "popularity", "unavailable")
    assert not {"model_version", "user_key"} & line.keys()


def test_a_default_arm_that_the_request_does_not_allow_is_not_shown_either(kind, models, log):
    models.behave("vae", DOWN)
    shown = kind.recommend(make(kind, models, log), "u1", [], eligible=["vae", "new"])
    assert (shown.served_by, models.asked("cf")) == ("popularity", 0)


def test_without_an_eligible_arm_no_model_is_asked(kind, models, log):
    shown = kind.recommend(make(kind, models, log), "u1", [], eligible=[])
    assert (shown.served_by, shown.fallback_reason) == ("popularity", "no_eligible_arm")
    assert (log.decisions[0]["arm_id"], log.decisions[0]["served_by"]) == ("cf", "popularity")
    assert models.requests == []


def test_a_drawn_default_arm_is_asked_once(kind, models, log):
    models.behave("cf", BROKEN)
    made = make(kind, models, log, policy={"kind": "fixed", "weights": {"cf": 1}})
    assert kind.recommend(made, "u1", []).served_by == "popularity"
    assert models.asked("cf") == 1


def test_an_arm_asks_for_its_label(kind, models, log):
    arms = {
        "cf": {"generation": 1, "model": "cf"},
        "vae": {"generation": 1, "model": "vae", "version_label": "canary"},
    }
    kind.recommend(make(kind, models, log, arms=arms), "u1", [])
    (request,) = models.requests
    assert (request.model_spec.name, request.model_spec.version_label) == ("vae", "canary")


def test_one_breaker_per_arm_stops_calls_from_every_decision_and_lets_any_of_them_try_again(kind, models, log):
    """cf is drawn, with vae as the default arm behind it, unless a request allows only vae.

    Both models fail. After two failures a breaker opens for 10 s.
    """
    clock = Clock()
    made = make(
        kind,
        models,
        log,
        breaker=lambda: CircuitBreaker(2, 10.0, clock=clock),
        default_arm="vae",
        policy={"kind": "fixed", "weights": {"cf": 1}},
    )
    models.behave("vae", BROKEN)
    models.behave("cf", BROKEN)
    for eligible in (["vae"], None):  # one failure as the drawn arm, one as the default arm
        assert kind.recommend(made, "u1", [], eligible=eligible).served_by == "popularity"
    assert models.asked("vae") == 2
    shown = kind.recommend(made, "u1", [], eligible=["vae"])
    assert (shown.fallback_reason, models.asked("vae")) == ("circuit_open", 2)
    models.behave("vae", Answer(("v0",)))
    clock.now_s = 10.0
    assert kind.recommend(made, "u1", []).served_by == "vae"  # as the default arm
    assert kind.recommend(made, "u1", [], eligible=["vae"]).served_by == "vae"


def test_an_invalid_request_is_raised_and_not_logged(kind, models, log):
    made = make(kind, models, log)
    with pytest.raises(InvalidRequest, match="history"):
        kind.recommend(made, "u1", "c07")
    with pytest.raises(InvalidRequest, match="k is 0"):
        kind.recommend(made, "u1", [], k=0)
    assert log.decisions == []


def test_every_model_needs_a_client(kind, models, log):
    of = bandits()
    router = Router(of, log=log)
    client = kind.client(models.target)
    with pytest.raises(ValueError, match="arm new has model new, which has no client; add it to clients"):
        kind.recommender(router, "home_row", {"cf": client, "vae": client}, POPULAR)
    made = kind.recommender(router, "home_row", dict.fromkeys(("cf", "vae", "new"), client), POPULAR)
    assert kind.recommend(made, "u1", []).served_by == "cf"


def test_an_arm_that_cannot_be_drawn_needs_no_client(kind, models, log):
    arms = {name: {"generation": 1, "model": name, "state": state} for name, state in STATES.items()}
    router = Router(bandits(arms=arms), log=log)
    made = kind.recommender(router, "home_row", {"cf": kind.client(models.target)}, POPULAR)
    assert kind.recommend(made, "u1", []).served_by == "cf"


def test_arms_of_a_new_bandits_file_are_asked(kind, models, log):
    of = bandits(policy=ALWAYS_VAE)
    router = Router(of, snapshots=Shelf(snapshot(of)), log=log)
    made = kind.recommender(router, "home_row", kind.client(models.target), POPULAR)
    arms = {"cf": {"generation": 1, "model": "cf"}, "vae": {"generation": 2, "model": "other"}}
    models.behave("other", Answer(("o0",)))
    router.take(bandits(policy=ALWAYS_VAE, arms=arms))
    assert kind.recommend(made, "u1", []).model == "other"


def test_arms_of_a_new_bandits_file_without_a_client_fall_back(kind, models, log, caplog):
    of = bandits(policy=ALWAYS_VAE)
    router = Router(of, snapshots=Shelf(snapshot(of)), log=log)
    client = kind.client(models.target)
    made = kind.recommender(router, "home_row", dict.fromkeys(("cf", "vae", "new"), client), POPULAR)
    arms = {"cf": {"generation": 1, "model": "cf"}, "later": {"generation": 1, "model": "later"}}
    router.take(bandits(policy={"kind": "fixed", "weights": {"later": 1}}, arms=arms))
    shown = kind.recommend(made, "u1", [])
    assert (shown.decision.arm_id, shown.served_by, shown.fallback_reason) == ("later", "cf", "no_client")
    assert "arm later has model later, which has no client" in caplog.text


def test_the_two_recommenders_have_the_same_arguments():
    for name in ("__init__", "recommend"):
        signatures = []
        for kind in (recommender.Recommender, aio.Recommender):
            found = inspect.signature(getattr(kind, name), eval_str=False)
            signatures.append([(one.name, one.kind, one.default) for one in found.parameters.values()])
        assert signatures[0] == signatures[1]


def test_an_arm_may_be_a_plain_scorer_behind_the_open_inference_protocol(kind, models, log):
    """The scorer sums one feature per candidate, its number: c5 before c3."""
    protocol = OpenInference(
        lambda history, candidates: {"x": np.array([[int(item[1:])] for item in candidates], np.float32)},
        catalogue=["c3", "c5", "c7"],
    )

    def answer(request, context):
        x = np.frombuffer(request.raw_input_contents[0], np.float32)
        found = messages.ModelInferResponse(model_name=request.model_name, model_version="3")
        found.outputs.add(name="predict", datatype="FP32", shape=[len(x)])
        found.raw_output_contents.append(x.tobytes())
        return found

    of = bandits(policy=ALWAYS_VAE)
    router = Router(of, snapshots=Shelf(snapshot(of)), log=log)
    with inference_servers() as (scorer,):
        scorer.answer = answer
        clients = {"cf": kind.client(models.target), "new": kind.client(models.target)}
        clients["vae"] = kind.client(scorer.target, protocol=protocol)
        made = kind.recommender(router, "home_row", clients, POPULAR, timeout_s=10.0)
        shown = kind.recommend(made, "u1", ["c7"])
    assert [item.item_id for item in shown.items] == ["c5", "c3"]
    assert (shown.served_by, log.decisions[0]["model_version"]) == ("vae", 3)


def test_a_model_server_answers_for_its_arm(kind, server, log):
    """local_serving with the exported model `contract` behind both arms."""
    arms = {name: {"generation": 1, "model": "contract"} for name in ("cf", "vae")}
    of = bandits(arms=arms)
    router = Router(of, snapshots=Shelf(snapshot(of)), log=log)
    made = kind.recommender(router, "home_row", kind.client(f"127.0.0.1:{server.grpc_port}"), POPULAR, timeout_s=10.0)
    shown = kind.recommend(made, "u1", ["c07", "c12"], {"plan": "free"}, k=3)
    assert shown.served_by == shown.decision.arm_id
    assert len(shown.items) == 3 and not {"c07", "c12"} & {item.item_id for item in shown.items}
    assert (log.decisions[0]["model_version"], len(log.decisions[0]["items"])) == (1, 3)
