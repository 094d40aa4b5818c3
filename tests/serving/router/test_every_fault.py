"""Whatever is wrong, a request is answered: each fault in turn over many routes, each with a defined rung.

The fast test routes 80 times per fault and checks lines by the JSON Schema. The slow one routes a million times.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import time

import jsonschema
import numpy as np
import pytest

from serving_client.bandits_file.follow import BanditsFollower
from serving_client.contracts import schemas
from serving_client.router import Router
from serving_client.snapshots.follow import SnapshotFollower
from tests.serving.router.world import bandits, bandits_text
from tests.serving.snapshots.documents import NOW_US, row
from tests.serving.snapshots.test_follow import FAULTS, MemoryStore

DAY_US = 86_400_000_000
ARMS = {
    "cf": {"generation": 1, "model": "cf"},
    "vae": {"generation": 2, "model": "vae"},
    "old": {"generation": 1, "model": "old", "state": "draining"},
    "canary": {
        "generation": 1,
        "model": "new",
        "ramp": {"started_at": "2020-01-01T00:00:00Z", "steps": [{"after": "0s", "share": 0.05}]},
    },
}
FEATURES = [{"name": "age", "type": "numeric"}, {"name": "land", "type": "categorical", "buckets": 4}]
ROUTES = 80
POLICIES = ("thompson_beta", "lints", "ucb_tuned", "softmax", "top_two", "thompson_gaussian")


@dataclasses.dataclass
class World:
    """A router over a store in memory. A fault changes one of its parts."""

    kind: str = "thompson_beta"

    def __post_init__(self):
        self.store, self.now_us, self.lines, self.log_fails = MemoryStore(), NOW_US, [], False
        self.store.publish(1, arms=[row("cf"), row("vae", arm_generation=2)])
        self.bandits = bandits(arms=ARMS, cold=None, policy=self.policy(), features=FEATURES)
        self.follower = SnapshotFollower(
            self.store,
            self.bandits,
            report=lambda *_: None,
            on_new=lambda snapshot: self.router.prepare(snapshot),
            clock=lambda: self.now_us,
            pause=lambda: None,
        )
        self.router = Router(self.bandits, snapshots=self.follower, log=self.write, clock_us=lambda: self.now_us)
        self.follower.poll()

    def policy(self):
        parameters = {"softmax": {"temperature": 0.1}, "thompson_gaussian": {"noise": 1.0}}.get(self.kind, {})
        return {"kind": self.kind, "floor": 0.01, **parameters}

    def write(self, kind, line):
        if self.log_fails:
            raise OSError("as the test wants it")
        self.lines.append(line)

    def publish(self, **changes):
        """A snapshot with one row of each arm, changed."""
        version = self.store.pointers["home_row"].version + 1
        arms = [row(arm, segment=s, arm_generation=g, **changes) for s in ("*", "free") for arm, g in ARM_ROWS]
        self.store.publish(version, published_at_us=self.now_us, arms=arms)


ARM_ROWS = (("cf", 1), ("vae", 2), ("canary", 1), ("old", 1), ("unknown", 9))


def strange_statistics(**changes):
    def inject(world):
        world.publish(**changes)
        world.follower.poll()

    return inject


def of_store(inject):
    def with_next_version(world):
        world.store.publish(2, published_at_us=world.now_us)
        inject(world.store)
        world.follower.poll()

    return with_next_version


def at_age(age_us):
    def inject(world):
        world.now_us += age_us

    return inject


def rolled_back(world):
    every = [{"arm": arm, "generation": g, "reason": "reward", "at": "2026-11-24T06:00:00Z"} for arm, g in ARM_ROWS]
    world.store.publish(2, arms=[], rolled_back=every)
    world.follower.poll()


def another_epoch(world):
    world.store.publish(2, policy_epoch=7)
    world.follower.poll()


def failing_log(world):
    world.log_fails = True


def reloaded(world):
    world.router.take(
        bandits(arms=ARMS, policy=world.policy(), features=FEATURES, holdback={"share": 0.5, "arm": "vae"})
    )


CASES = {
    "none": (lambda world: None, "fresh"),
    **{f"store: {name}": (of_store(inject), "fresh") for name, (_, inject) in FAULTS.items()},
    "old": (at_age(3 * 60_000_000), "last_good"),
    "too old": (at_age(DAY_US), "default"),
    "clock set back": (at_age(-DAY_US), "fresh"),
    "rewards above the decisions": (strange_statistics(n=10, sum_r=1e9, sum_r2=1e18), "fresh"),
    "negative rewards": (strange_statistics(n=10, sum_r=-1e9, sum_r2=1e18), "fresh"),
    "no variance": (strange_statistics(n=10, sum_r=5.0, sum_r2=0.0), "fresh"),
    "no decisions": (strange_statistics(n=0, sum_r=0.0, sum_r2=0.0, pending=0), "fresh"),
    "rewards without decisions": (strange_statistics(n=0, sum_r=5.0, sum_r2=5.0), "fresh"),
    "very many decisions": (strange_statistics(n=2**53, sum_r=2.0**52, sum_r2=2.0**52), "fresh"),
    "every arm rolled back": (rolled_back, "default"),
    "another policy epoch": (another_epoch, "fresh"),
    "failing log": (failing_log, "fresh"),
    "new bandits file": (reloaded, "fresh"),
}
REQUESTS = [
    {"context": {"plan": "free"}, "user_key": "u1"},
    {"context": {"plan": float("nan"), "age": np.float32("inf"), "land": ["x"]}, "eligible": ["cf", "vae"]},
    {"context": {"plan": "a\ud800|*", "age": 10**400, "land": object()}, "user_key": "a\nb"},
    {"context": None, "user_key": "", "eligible": {"vae", "unknown"}},
    {"context": {"age": "31", "land": "de"}, "user_key": "x" * 2000},
    {"context": {"plan": "free"}, "eligible": ["old", "unknown"]},
    {"context": {"plan": "free"}, "eligible": []},
    {"context": {"plan": "free"}},
]


def route(world, routes):
    """Route and log all requests in turn. Return the rungs of the decisions that a policy made."""
    rungs = set()
    for request in itertools.islice(itertools.cycle(REQUESTS), routes):
        decision = world.router.route("home_row", **request)
        world.router.log(decision, items=("c07",))
        choice = decision.choice
        assert abs(sum(choice.p) - 1) < 1e-9
        assert 0 <= choice.p[decision.index] <= 1
        if decision.fallback_reason is None:
            rungs.add(decision.rung)
            assert decision.arm.state == "active"
        else:
            assert (decision.fallback_reason, decision.served_by) == ("no_eligible_arm", "popularity")
    return rungs


@functools.cache
def validator():
    return jsonschema.Draft202012Validator(schemas.load("decision"))


@pytest.mark.parametrize("fault", CASES)
def test_a_request_is_answered_under_each_fault(fault):
    inject, rung = CASES[fault]
    for kind in POLICIES if "decisions" in fault or "rewards" in fault or "variance" in fault else POLICIES[:1]:
        world = World(kind)
        inject(world)
        assert route(world, ROUTES) == (set() if fault == "every arm rolled back" else {rung}), kind
        for line in {bytes(line) for line in world.lines[:16]}:
            validator().validate(json.loads(line))
        assert {reason for _, reason in world.router.counts().faults} <= {"user_key", "eligible", "config_hash"}, kind
        assert len(world.lines) == (0 if fault == "failing log" else ROUTES)


@pytest.mark.parametrize("of_folder", ["missing parent", "a file in its place", "read-only"])
def test_a_log_folder_that_cannot_be_written_costs_lines_and_no_request(tmp_path, of_folder):
    (tmp_path / "file").write_text("")
    folder = {
        "missing parent": "/proc/nowhere/log",
        "a file in its place": tmp_path / "file",
        "read-only": "/proc/log",
    }[of_folder]
    router = Router(bandits(), log=folder)
    for _ in range(200):
        assert router.log(router.route("home_row"))
    router.close()
    ((kind, reason), lines), *others = router.counts().lost.items()
    assert (kind, lines, others) == ("decisions", 200, [])
    assert reason in {"folder_missing", "read_only", "io_error", "no_permission"}


def test_an_invalid_bandits_file_is_not_used(tmp_path):
    path = tmp_path / "bandits.yaml"
    path.write_bytes(bandits_text())
    taken, faults = [], []
    follower = BanditsFollower(str(path), on_new=taken.append, report=lambda *fault: faults.append(fault))
    for content in (b"", b"\xff", b"bandits: {}", bandits_text(default_arm="none"), bandits_text(policy_epoch=0)):
        path.write_bytes(content)
        follower.poll()
    path.unlink()
    follower.poll()
    assert (taken, len(faults)) == ([], 6)


@pytest.mark.slow
def test_a_million_routes_under_all_faults_in_turn_raise_nothing():
    each = 1_000_000 // len(CASES) + 1
    started_s, routed = time.monotonic(), 0
    for inject, _ in CASES.values():
        world = World()
        inject(world)
        for _ in range(each // 10_000 + 1):
            routed += 10_000
            route(world, 10_000)
            world.lines.clear()
    print(f"{routed:,} routes and logs in {time.monotonic() - started_s:.0f} s")
    assert routed >= 1_000_000
