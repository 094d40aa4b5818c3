"""Which snapshot a router uses, and on which rung, while everything goes wrong that can."""

from __future__ import annotations

import hashlib
import json
import queue
import random
from typing import Any

import pytest

from pipelines.reward_stream.destinations.factory import open_destination
from pipelines.reward_stream.destinations.interface import publish
from serving_client.contracts.bandits import Bandits
from serving_client.contracts.bandits_document import bandits_of
from serving_client.contracts.times import wall_clock_us
from serving_client.snapshots.follow import Followed, SnapshotFollower
from serving_client.snapshots.published import Damaged, Pointer, Published, VersionMissing, verified
from serving_client.snapshots.snapshot import Snapshot
from serving_client.snapshots.stores import open_store
from tests.serving.snapshots.documents import NOW_US, published, row

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
FRESH_US, HARD_US = 2 * MINUTE_US, 60 * MINUTE_US


def bandits(*names: str, **staleness: str) -> Bandits:
    content: dict[str, Any] = {
        "policy_epoch": 1,
        "default_arm": "cf",
        "arms": {"cf": {"generation": 1, "model": "cf"}},
        "policy": {"kind": "thompson_beta"},
        "attribution": {"window": "30m", "allowed_lateness": "1h", "reward_kinds": ["click"]},
        "staleness": staleness,
    }
    return bandits_of({"bandits": dict.fromkeys(names or ["home_row"], content)}, "bandits.yaml")


class MemoryStore:
    """A store whose answers a test sets: the pointer and the document, or an exception in the place of one."""

    def __init__(self) -> None:
        self.pointers: dict[str, Pointer | Exception] = {}
        self.documents: dict[tuple[str, int], bytes | Exception] = {}
        self.read = 0
        self.forks = 0

    def publish(self, version: int, name: str = "home_row", **changes: Any) -> bytes:
        data = published(version, **changes)
        self.put(version, data, name)
        return data

    def put(self, version: int, data: bytes, name: str = "home_row") -> None:
        self.documents[name, version] = data
        self.pointers[name] = Pointer(version, hashlib.sha256(data).hexdigest())

    def pointer(self, name: str) -> Pointer | None:
        found = self.pointers.get(name)
        if isinstance(found, Exception):
            raise found
        return found

    def document(self, name: str, pointer: Pointer) -> Published:
        self.read += 1
        found = self.documents.get((name, pointer.version))
        if isinstance(found, Exception):
            raise found
        return verified(f"memory/{name}/{pointer.version}", found, pointer)

    def forked(self) -> None:
        self.forks += 1


class World:
    """A store, a clock, and what a follower reports."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.now_us = NOW_US
        self.reports: list[tuple[str, str, str]] = []

    def follower(self, **settings: Any) -> SnapshotFollower:
        return SnapshotFollower(
            self.store,
            settings.pop("bandits", bandits()),
            report=lambda *fault: self.reports.append(fault),
            clock=lambda: self.now_us,
            rng=random.Random(1),
            pause=settings.pop("pause", lambda: None),
            **settings,
        )

    def reasons(self) -> list[str]:
        found = [reason for _, reason, _ in self.reports]
        self.reports.clear()
        return found


@pytest.fixture
def world() -> World:
    return World()


def seen(follower: SnapshotFollower, bandit_id: str = "home_row") -> tuple[int | None, str]:
    held = follower.held(bandit_id)
    return (None if held.snapshot is None else held.snapshot.version), held.rung


def test_a_snapshot_goes_down_the_ladder_by_the_age_since_it_was_published(world):
    world.store.publish(1)
    follower = world.follower()
    assert seen(follower) == (None, "default")
    follower.poll()
    world.store.pointers["home_row"] = ConnectionError("down")
    for age_us, expected in (
        (0, (1, "fresh")),
        (FRESH_US, (1, "fresh")),
        (FRESH_US + 1, (1, "last_good")),
        (HARD_US, (1, "last_good")),
        (HARD_US + 1, (None, "default")),
    ):
        world.now_us = NOW_US + age_us
        follower.poll()
        assert seen(follower) == expected
    assert world.reasons() == ["unreachable"] * 5
    world.store.publish(2, published_at_us=world.now_us)
    follower.poll()
    assert seen(follower) == (2, "fresh")
    assert world.reports == []


def test_an_old_watermark_is_no_old_snapshot(world):
    world.store.publish(1, watermark="2020-01-01T00:00:00Z", event_time_lag=1e8)
    follower = world.follower()
    follower.poll()
    assert seen(follower) == (1, "fresh")


def test_a_bandit_that_is_not_followed_has_the_default_rung(world):
    assert seen(world.follower(), "other") == (None, "default")


def test_a_new_version_replaces_the_whole_snapshot_after_it_was_prepared(world):
    world.store.publish(1)
    during: list[tuple[int, tuple[int | None, str]]] = []
    follower = world.follower(on_new=lambda snapshot: during.append((snapshot.version, seen(follower))))
    follower.poll()
    first = follower.held("home_row")
    world.store.publish(2, arms=[])
    follower.poll()
    assert during == [(1, (None, "default")), (2, (1, "fresh"))]
    assert list(first.snapshot.rows) == [("*", "cf", 1), ("*", "vae", 1)]
    assert not follower.held("home_row").snapshot.rows


def test_a_version_that_is_known_is_not_fetched_again(world):
    world.store.publish(1)
    follower = world.follower()
    for _ in range(3):
        follower.poll()
    assert world.store.read == 1


def test_parsing_pauses_between_rows(world):
    pauses: list[None] = []
    world.store.publish(1, arms=[row(f"a{number}") for number in range(30)])
    world.follower(pause=lambda: pauses.append(None)).poll()
    assert len(pauses) == 31


def nan(version: int) -> bytes:
    return published(version).replace(b'"sum_r":3.0', b'"sum_r":NaN')


def negative(version: int) -> bytes:
    return published(version).replace(b'"n":10', b'"n":-10')


FAULTS = {
    "missing": ("missing", lambda store: store.pointers.clear()),
    "version missing": ("missing", lambda store: store.documents.update({("home_row", 2): VersionMissing("gone")})),
    "unreachable": ("unreachable", lambda store: store.pointers.update(home_row=TimeoutError("5 s"))),
    "unreachable document": ("unreachable", lambda store: store.documents.update({("home_row", 2): OSError("reset")})),
    "pointer damaged": ("damaged", lambda store: store.pointers.update(home_row=Damaged("LATEST: is not"))),
    "checksum wrong": ("damaged", lambda store: store.documents.update({("home_row", 2): b"{}"})),
    "torn": ("invalid", lambda store: store.put(2, published(2)[:-9])),
    "nan": ("invalid", lambda store: store.put(2, nan(2))),
    "infinite": ("invalid", lambda store: store.put(2, nan(2).replace(b"NaN", b"1e999"))),
    "negative counts": ("invalid", lambda store: store.put(2, negative(2))),
    "wrong bandit": ("invalid", lambda store: store.put(2, published(2, bandit_id="other"))),
    "wrong version": ("invalid", lambda store: store.put(2, published(3))),
    "later schema": ("invalid", lambda store: store.put(2, published(2, schema_version=2))),
    "version back": ("version_back", lambda store: store.publish(0)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_keeps_the_last_good_snapshot_until_it_is_too_old(world, fault):
    reason, inject = FAULTS[fault]
    world.store.publish(1)
    follower = world.follower()
    follower.poll()
    world.store.publish(2)
    inject(world.store)
    for age_us, expected in (
        (0, (1, "fresh")),
        (FRESH_US + 1, (1, "last_good")),
        (HARD_US, (1, "last_good")),
        (HARD_US + 1, (None, "default")),
    ):
        world.now_us = NOW_US + age_us
        follower.poll()
        assert seen(follower) == expected
        assert world.reasons() == [reason]
    world.store.publish(3, published_at_us=world.now_us)
    follower.poll()
    assert seen(follower) == (3, "fresh")
    assert world.reports == []


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "version back"])
def test_a_fault_before_the_first_snapshot_leaves_the_default_arm(world, fault):
    reason, inject = FAULTS[fault]
    world.store.publish(2)
    inject(world.store)
    follower = world.follower()
    follower.poll()
    assert seen(follower) == (None, "default")
    assert world.reasons() == [reason]


def test_a_fault_of_one_bandit_is_no_fault_of_another(world):
    follower = world.follower(bandits=bandits("home_row", "search"))
    world.store.pointers["home_row"] = ConnectionError("down")
    world.store.put(1, published(1, bandit_id="search"), "search")
    follower.poll()
    assert (seen(follower), seen(follower, "search")) == ((None, "default"), (1, "fresh"))
    assert [fault[:2] for fault in world.reports] == [("home_row", "unreachable")]


def test_a_document_that_cannot_be_parsed_is_fetched_once(world):
    world.store.put(2, nan(2))
    follower = world.follower()
    for _ in range(3):
        follower.poll()
    assert world.store.read == 1
    assert world.reasons() == ["invalid"] * 3


def test_rows_of_unknown_arms_and_missing_rows_are_no_fault(world):
    world.store.publish(1, arms=[row("gone", arm_generation=7)])
    follower = world.follower()
    follower.poll()
    assert list(follower.held("home_row").snapshot.rows) == [("*", "gone", 7)]
    assert world.reports == []


def test_a_lagging_replica_never_wins(world):
    """Version 1 was published before version 2, so however often the store answers it, it stays refused."""
    world.store.publish(2)
    follower = world.follower()
    follower.poll()
    world.store.publish(1, published_at_us=NOW_US - 10 * SECOND_US)
    for _ in range(10):
        follower.poll()
        assert seen(follower) == (2, "fresh")
    assert world.reasons() == ["version_back"] * 10
    assert world.store.read == 2
    world.store.publish(2)
    follower.poll()
    assert world.reports == []


def test_a_restored_store_wins_at_its_third_answer(world):
    world.store.publish(9)
    follower = world.follower()
    follower.poll()
    for version, expected in ((4, 9), (4, 9), (5, 5)):
        world.store.publish(version, published_at_us=NOW_US + version)
        follower.poll()
        assert seen(follower) == (expected, "fresh")
    assert world.reasons() == ["version_back"] * 2
    world.store.publish(6, published_at_us=NOW_US + 6)
    follower.poll()
    assert seen(follower) == (6, "fresh")


def test_answers_of_a_restored_store_count_only_in_a_row(world):
    follower = world.follower()
    restored, lagging, used = (4, NOW_US + 1), (8, NOW_US - 1), (9, NOW_US)
    for version, published_at_us in [used, *[restored, restored, used] * 3, *[lagging, restored, restored] * 3]:
        world.store.publish(version, published_at_us=published_at_us)
        follower.poll()
        assert seen(follower) == (9, "fresh")


def test_a_restored_store_wins_at_once_over_a_snapshot_that_is_too_old(world):
    world.store.publish(9)
    follower = world.follower()
    follower.poll()
    world.now_us += HARD_US + 1
    world.store.publish(4, published_at_us=NOW_US - 1)
    follower.poll()
    assert seen(follower) == (None, "default")
    world.store.publish(5, published_at_us=world.now_us)
    follower.poll()
    assert seen(follower) == (5, "fresh")


def test_other_content_under_the_same_version_is_taken_if_the_store_keeps_answering_it(world):
    world.store.publish(3)
    follower = world.follower()
    follower.poll()
    world.store.publish(3, published_at_us=NOW_US + 1, arms=[])
    for expected in (2, 2, 0):
        follower.poll()
        assert len(follower.held("home_row").snapshot.rows) == expected


def test_a_snapshot_from_the_future_is_as_old_as_its_arrival(world):
    world.store.publish(1, published_at_us=NOW_US + 10 * HARD_US)
    follower = world.follower()
    follower.poll()
    assert world.reports == [
        ("home_row", "clock_skew", "version 1 was published 36000.0 s in the future; set the clocks")
    ]
    for age_us, expected in ((FRESH_US, "fresh"), (HARD_US, "last_good"), (HARD_US + 1, "default")):
        world.now_us = NOW_US + age_us
        assert follower.held("home_row").rung == expected


def test_a_clock_that_is_a_second_off_is_no_fault(world):
    world.store.publish(1, published_at_us=NOW_US + SECOND_US)
    world.follower().poll()
    assert world.reports == []


def test_a_clock_that_is_set_back_makes_a_snapshot_no_older(world):
    world.store.publish(1)
    follower = world.follower()
    follower.poll()
    world.now_us -= 10 * HARD_US
    assert seen(follower) == (1, "fresh")


def test_a_snapshot_that_cannot_be_prepared_is_used(world):
    def on_new(snapshot: Snapshot) -> None:
        raise ZeroDivisionError("1 / 0")

    world.store.publish(1)
    follower = world.follower(on_new=on_new)
    follower.poll()
    assert seen(follower) == (1, "fresh")
    assert world.reports == [("home_row", "prepare", "version 1 is not prepared (ZeroDivisionError('1 / 0'))")]


def test_new_bandits_are_followed_and_keep_their_snapshots(world):
    world.store.publish(1)
    world.store.put(5, published(5, bandit_id="search"), "search")
    follower = world.follower()
    follower.poll()
    world.now_us += 30 * SECOND_US
    follower.follow(bandits("home_row", "search", fresh="20s"))
    assert (seen(follower), seen(follower, "search")) == ((1, "last_good"), (None, "default"))
    follower.poll()
    assert seen(follower, "search") == (5, "last_good")
    follower.follow(bandits("search"))
    assert (seen(follower), seen(follower, "search")) == ((None, "default"), (5, "fresh"))


def restarted(world: World, tmp_path: Any, **settings: Any) -> SnapshotFollower:
    """A second process, whose store does not answer."""
    follower = world.follower(disk=tmp_path / "copies", **settings)
    follower.poll()
    return follower


@pytest.fixture
def copied(world, tmp_path):
    world.store.publish(7)
    world.follower(disk=tmp_path / "copies").poll()
    world.store.pointers["home_row"] = ConnectionError("down")
    return tmp_path / "copies" / "home_row.json"


def test_a_disk_copy_serves_a_start_without_the_store(world, tmp_path, copied):
    prepared: list[int] = []
    before = copied.stat().st_ino, copied.stat().st_mtime_ns
    follower = restarted(world, tmp_path, on_new=lambda snapshot: prepared.append(snapshot.version))
    assert (copied.stat().st_ino, copied.stat().st_mtime_ns) == before, "it is not written again"
    assert prepared == [7]
    for age_us, expected in (
        (0, (7, "fresh")),
        (FRESH_US + 1, (7, "disk")),
        (HARD_US, (7, "disk")),
        (HARD_US + 1, (None, "default")),
    ):
        world.now_us = NOW_US + age_us
        assert seen(follower) == expected


def test_the_rung_of_a_disk_copy_ends_when_the_store_answers(world, tmp_path, copied):
    world.now_us += FRESH_US + 1
    follower = restarted(world, tmp_path)
    assert seen(follower) == (7, "disk")
    world.store.publish(7)
    follower.poll()
    assert seen(follower) == (7, "last_good")
    assert world.store.read == 1, "the store has the version of the copy"
    world.store.publish(8, published_at_us=world.now_us)
    follower.poll()
    assert seen(follower) == (8, "fresh")
    assert b'"version":8' in copied.read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b'"n":10', b'"n":11'),
        lambda data: data.partition(b"\n")[2],
        lambda data: b"\n",
    ],
)
def test_a_torn_disk_copy_is_ignored_and_replaced(world, tmp_path, copied, damage):
    copied.write_bytes(damage(copied.read_bytes()))
    follower = restarted(world, tmp_path)
    assert seen(follower) == (None, "default")
    assert world.reasons() == ["disk", "unreachable"]
    world.store.publish(8)
    world.follower(disk=tmp_path / "copies").poll()
    world.store.pointers["home_row"] = ConnectionError("down")
    assert seen(restarted(world, tmp_path)) == (8, "fresh")


def test_a_copy_of_another_bandit_is_ignored(world, tmp_path, copied):
    data = published(7, bandit_id="other")
    pointer = json.dumps({"version": 7, "sha256": hashlib.sha256(data).hexdigest()}).encode()
    copied.write_bytes(pointer + b"\n" + data)
    assert seen(restarted(world, tmp_path)) == (None, "default")
    assert world.reasons() == ["disk", "unreachable"]


def test_a_folder_that_cannot_be_written_is_reported_and_the_snapshot_is_used(world, tmp_path):
    (tmp_path / "copies").write_text("a file")
    world.store.publish(1)
    follower = world.follower(disk=tmp_path / "copies")
    follower.poll()
    assert seen(follower) == (1, "fresh")
    assert world.reasons() == ["disk", "disk"]  # it is neither read nor written


def test_a_bandit_that_is_added_while_the_store_is_down_has_its_disk_copy(world, tmp_path, copied):
    follower = world.follower(disk=copied.parent, bandits=bandits("search"))
    follower.poll()
    follower.follow(bandits("search", "home_row"))
    assert seen(follower) == (None, "default")
    follower.poll()
    assert seen(follower) == (7, "fresh")


def test_a_start_has_the_disk_copies_before_it_returns(world, copied):
    follower = world.follower(disk=copied.parent, poll_interval_s=3600)
    follower.start()
    assert seen(follower) == (7, "fresh")
    follower.close()


def test_a_save_that_fails_leaves_the_old_copy_and_no_other_file(world, tmp_path, copied, monkeypatch):
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    before = copied.read_bytes()
    monkeypatch.setattr("os.replace", full)
    world.store.publish(8)
    world.follower(disk=tmp_path / "copies").poll()
    assert [path.name for path in copied.parent.iterdir()] == ["home_row.json"]
    assert copied.read_bytes() == before


def test_the_status_has_age_and_time_of_the_last_answer(world):
    world.store.publish(3, published_at_us=NOW_US - 4 * SECOND_US)
    follower = world.follower()
    assert follower.status() == [Followed("home_row", "default", None, None, None)]
    follower.poll()
    world.store.pointers["home_row"] = ConnectionError("down")
    world.now_us += 10 * SECOND_US
    follower.poll()
    assert follower.status() == [Followed("home_row", "fresh", 3, 14.0, 10.0)]
    world.now_us += HARD_US
    assert follower.status() == [Followed("home_row", "default", 3, 3614.0, 3610.0)]


def test_held_makes_no_objects(world):
    """`route` calls it for every request."""
    world.store.publish(1)
    follower = world.follower()
    follower.poll()
    assert follower.held("home_row") is follower.held("home_row")


def test_the_thread_finds_what_is_published_and_a_forked_child_drops_the_connections(tmp_path):
    """A real thread on a real directory. The child of a fork is played by its hook; `test_background` forks."""
    destination = open_destination(str(tmp_path))
    publish(destination, "home_row", lambda version: published(version, published_at_us=wall_clock_us()))
    found = queue.Queue()
    store = open_store(str(tmp_path))
    follower = SnapshotFollower(store, bandits(), report=print, on_new=found.put, poll_interval_s=0.01)
    follower.start()
    try:
        assert found.get(timeout=10).version == 1
        publish(destination, "home_row", lambda version: published(version, published_at_us=wall_clock_us()))
        assert found.get(timeout=10).version == 2
    finally:
        follower.close()
    memory = MemoryStore()
    child = SnapshotFollower(memory, bandits(), report=print)
    child._background.restart_in_child()
    child.close()
    assert memory.forks == 1


def test_two_thousand_polls_among_random_faults_raise_nothing(world, tmp_path):
    """Whatever happened before, the rung is that of the age, and a later good version is taken at the next poll."""
    rng = random.Random(15)
    follower = world.follower(disk=tmp_path / "copies")
    version = 1
    for _ in range(500):
        version += 1
        world.now_us += rng.choice([1, SECOND_US, FRESH_US, HARD_US])
        world.store.publish(version, published_at_us=world.now_us, arms=[])
        follower.poll()
        assert seen(follower) == (version, "fresh")
        for _ in range(3):
            _, inject = FAULTS[rng.choice(list(FAULTS))]
            inject(world.store)
            world.now_us += rng.choice([0, SECOND_US, FRESH_US])
            follower.poll()
            held, (status,) = follower.held("home_row"), follower.status()
            age_us = status.age_s * 1e6
            rungs = ("fresh",) if age_us <= FRESH_US else ("last_good",) if age_us <= HARD_US else ("default",)
            assert held.rung in rungs
            assert (held.snapshot is None) == (held.rung == "default")
        world.store.documents.clear()
