"""Around the loop once: a router's log files, reward_stream over them, and a router that reads what it published."""

from __future__ import annotations

import collections
import itertools
import json
import random

import pytest

from pipelines.reward_stream.__main__ import main
from serving_client.contracts.times import wall_clock_us
from serving_client.router import DecisionKeys, Router
from tests.serving.router.world import Shelf, bandits, bandits_text, snapshot

KEYS = DecisionKeys({"k1": b"0123456789abcdef"})
CHANGES = {
    "holdback": {"share": 0.2, "arm": "cf"},
    "sticky": True,
    "features": [{"name": "age", "type": "numeric", "scale": 100}],
}
CLICKS = {"cf": 0.1, "vae": 0.5, "new": 0.1}
DECISIONS = 600


@pytest.fixture(scope="module")
def loop(tmp_path_factory):
    """The folder of the loop, and what the router decided: one outcome and reward per decision."""
    folder = tmp_path_factory.mktemp("loop")
    (folder / "bandits.yaml").write_bytes(bandits_text(**CHANGES))
    of, rng, told = bandits(**CHANGES), random.Random(7), []
    clock = itertools.count(wall_clock_us() - 2 * 3_600_000_000, 1_000_000)  # two hours ago, a second per call
    shelf = Shelf(snapshot(of, cf=(100, 10), vae=(100, 10), new=(100, 10)))
    with Router(of, snapshots=shelf, log=folder / "log", keys=KEYS, clock_us=lambda: next(clock)) as router:
        for number in range(DECISIONS):
            decision = router.route("home_row", {"plan": "free", "age": 30}, user_key=f"u{number % 200}")
            outcome = "holdback" if decision.holdback else "counted"
            if number % 10 == 0:
                outcome = "fallback"
            if number % 13 == 0:
                outcome = "bot"
            clicked = rng.random() < CLICKS[decision.arm_id]
            told.append((outcome, decision.arm_id, clicked))
            router.log(
                decision,
                served_by="popularity" if number % 10 == 0 else None,
                items=["c07", "c12"],
                bot=number % 13 == 0,
            )
            if clicked:
                router.record(decision.decision_id, "click", item_id="c12", position=1)
                router.record(decision.decision_id, "click", item_id="c12", position=1)  # the same event
    log, out = folder / "log", folder / "out"
    flags = [f"--bandits={folder / 'bandits.yaml'}", f"--snapshots={out / 'snapshots'}"]
    flags += [f"--decisions={log}/decisions-*.jsonl", f"--rewards={log}/rewards-*.jsonl"]
    assert main([*flags, f"--dead_letters={out / 'letters'}"]) == 0
    return folder, told


def test_every_line_of_a_router_has_the_outcome_that_it_was_logged_with(loop):
    folder, told = loop
    document = json.loads((folder / "out" / "snapshots" / "home_row" / "1.json").read_bytes())
    clicks = [outcome for outcome, _, clicked in told if clicked]
    expected = collections.Counter([*(outcome for outcome, _, _ in told), *clicks])
    expected["duplicate"] = expected["conflicting_duplicates"] = len(clicks)  # the second click has a later time
    assert {name: number for name, number in document["counters"].items() if number} == dict(expected)


def test_the_rows_are_what_the_router_decided(loop):
    folder, told = loop
    document = json.loads((folder / "out" / "snapshots" / "home_row" / "1.json").read_bytes())
    rows = {(row["segment"], row["arm_id"]): row for row in document["arms"]}
    for segment, wanted in (("*", "counted"), ("free", "counted"), ("*holdback", "holdback")):
        for arm in CLICKS:
            mine = [clicked for outcome, arm_id, clicked in told if (outcome, arm_id) == (wanted, arm)]
            if mine:
                assert (rows[segment, arm]["n"], rows[segment, arm]["sum_r"]) == (len(mine), sum(mine))
    assert {arm for segment, arm in rows if segment == "*holdback"} == {"cf"}
    assert rows["*", "vae"]["ipw"]["missing"] == 0
    assert rows["*", "vae"]["lin"]["d"] == 1


def test_the_next_router_prefers_the_better_arm(loop):
    folder, _ = loop
    with Router(folder / "bandits.yaml", snapshots=folder / "out" / "snapshots") as router:
        assert router.wait_until_ready(20.0)
        decision = next(
            one
            for number in itertools.count()
            if not (one := router.route("home_row", {"plan": "free"}, user_key=f"u{number}")).holdback
        )
        assert decision.propensities["vae"] > 0.9
        assert router.counts().faults == {}
