"""The logged propensities are the numbers that were drawn with, and can be computed again from the log to the bit."""

from __future__ import annotations

import itertools

import pytest

from serving_client.features import FeatureEncoder
from serving_client.policies.probabilities import probabilities
from serving_client.router import Router
from tests.serving.router.world import Log, Shelf, bandits, snapshot

FEATURES = [
    {"name": "age", "type": "numeric", "scale": 100},
    {"name": "land", "type": "categorical", "buckets": 3},
    {"name": "deep", "type": "bool", "from": "model"},
]
ARMS = {
    "cf": {"generation": 1, "model": "cf", "attributes": {"deep": False}},
    "new": {"generation": 3, "model": "new", "attributes": {"deep": True}},
    "vae": {"generation": 2, "model": "vae", "attributes": {"deep": True}},
}
KINDS = {
    "fixed": {"weights": {"cf": 0.5, "vae": 0.5}},
    "epsilon_greedy": {"epsilon": 0.1},
    "softmax": {"temperature": 0.1},
    "ucb1": {},
    "ucb_tuned": {},
    "thompson_beta": {},
    "thompson_gaussian": {"noise": 1.0},
    "top_two": {},
    "linucb": {},
    "lints": {},
}
CONTEXTS = [{"plan": "free", "age": 31, "land": "de"}, {"plan": "pa|id", "age": float("nan"), "land": 7}, {}]


@pytest.mark.parametrize("kind", KINDS)
def test_the_log_gives_the_propensities_again(kind):
    of = bandits(arms=ARMS, features=FEATURES, cold=None, policy={"kind": kind, "floor": 0.05, **KINDS[kind]})
    held, log = snapshot(of, cf=(900, 50), vae=(800, 60), new=(20, 3)), Log()
    router = Router(of, snapshots=Shelf(held), log=log)
    for context, eligible in itertools.product(CONTEXTS, (None, ["cf", "new"], ["vae"])):
        router.log(router.route("home_row", context, eligible=eligible))
    bandit = of.bandits["home_row"]
    encoder = FeatureEncoder(bandit)
    for line in log.decisions:
        context = line.get("context", {})
        x = {arm: encoder.encode(arm, context) for arm in bandit.arms}
        again = probabilities(bandit, held, line["segment"], line["eligible_arms"], x)
        assert dict(zip(again.arms, again.p, strict=True)) == line["propensities"]
        assert again.arms[again.draw(line["draw"])] == line["arm_id"]
        assert x[line["arm_id"]].tolist() == line["features"]
    assert len(log.decisions) == 9
