"""A router follows its bandits file and the snapshots of a store: real files, real threads."""

from __future__ import annotations

import os
import threading
import time

import pytest

from pipelines.reward_stream.destinations.factory import open_destination
from pipelines.reward_stream.destinations.interface import publish
from serving_client.contracts.bandits import BanditsError
from serving_client.contracts.times import wall_clock_us
from serving_client.router import Router
from tests.serving.router.world import bandits, bandits_text
from tests.serving.snapshots.documents import published, row

ONLY_VAE = {"kind": "fixed", "weights": {"vae": 1}}
ONLY_CF = {"kind": "fixed", "weights": {"cf": 1}}
LONGEST_S = 20.0


def until(holds):
    end_s = time.monotonic() + LONGEST_S
    while not holds():
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.005)


@pytest.fixture
def file(tmp_path):
    """The path of a bandits file, and a function that replaces its content at once."""
    path = tmp_path / "bandits.yaml"

    def write(data):
        (tmp_path / "new").write_bytes(data)
        os.replace(tmp_path / "new", path)
        return path

    write(bandits_text(policy=ONLY_VAE))
    return path, write


@pytest.fixture
def store(tmp_path):
    """The folder of a store, and a function that publishes a snapshot now."""
    folder = tmp_path / "snapshots"

    def put(**sums):
        arms = [row(arm, segment=s, n=n, sum_r=r, sum_r2=r) for s in ("*", "free") for arm, (n, r) in sums.items()]
        publish(
            open_destination(str(folder)),
            "home_row",
            lambda version: published(version, published_at_us=wall_clock_us(), arms=arms),
        )

    return folder, put


def test_a_router_uses_each_snapshot_that_is_published(store):
    folder, put = store
    put(cf=(1000, 90.0), vae=(1000, 50.0), new=(1000, 50.0))
    with Router(bandits(), snapshots=folder, poll_interval_s=0.01) as router:
        assert router.wait_until_ready(LONGEST_S)
        first = router.route("home_row", {"plan": "free"})
        assert (first.rung, first.choice.snapshot_version) == ("fresh", 1)
        assert first.propensities["cf"] > 0.9
        put(cf=(1000, 50.0), vae=(1000, 90.0), new=(1000, 50.0))
        until(lambda: router.route("home_row", {"plan": "free"}).choice.snapshot_version == 2)
        assert router.route("home_row", {"plan": "free"}).propensities["vae"] > 0.9
        assert router.counts().computed == {"home_row": 1}  # the second snapshot was prepared
        (followed,) = router.counts().followed
        assert (followed.version, followed.rung) == (2, "fresh")


def test_a_router_uses_the_new_content_of_the_bandits_file(file, store):
    (path, write), (folder, put) = file, store
    put(cf=(10, 1.0))
    with Router(path, snapshots=folder, bandits_poll_s=0.01) as router:
        assert router.wait_until_ready(LONGEST_S)
        assert router.route("home_row").arm_id == "vae"
        write(bandits_text(policy=ONLY_CF))
        until(lambda: router.route("home_row").arm_id == "cf")
        assert router.bandit("home_row").policy["weights"] == {"cf": 1}


def test_an_invalid_bandits_file_changes_nothing_and_is_counted(file, store, caplog):
    (path, write), (folder, put) = file, store
    put(cf=(10, 1.0))
    with Router(path, snapshots=folder, bandits_poll_s=0.01) as router:
        assert router.wait_until_ready(LONGEST_S)
        write(b"bandits: {home_row: {")
        until(lambda: router.counts().faults.get(("*", "bandits_file"), 0) > 1)
        assert router.route("home_row").arm_id == "vae"
        assert "the content before stays in use" in caplog.text
        write(bandits_text(policy=ONLY_CF))
        until(lambda: router.route("home_row").arm_id == "cf")


def test_a_bandit_that_is_removed_from_the_file_is_kept(file, caplog):
    path, write = file
    with Router(path, bandits_poll_s=0.01) as router:
        write(bandits_text().replace(b'"home_row"', b'"side"', 1))
        until(lambda: ("home_row", "removed_bandit") in router.counts().faults)
        until(lambda: "side" in str(router.counts().computed))
        assert router.route("home_row").arm_id == "cf"
        assert router.route("side").bandit_id == "side"
    assert "router, bandit home_row: the bandits file lacks this bandit, which is kept" in caplog.text


def test_a_router_does_not_start_with_an_invalid_file(tmp_path):
    with pytest.raises(BanditsError, match="the file does not exist"):
        Router(tmp_path / "bandits.yaml")


def test_a_restarted_router_uses_the_disk_copy_while_the_store_is_gone(store, tmp_path):
    folder, put = store
    put(cf=(1000, 90.0), vae=(1000, 50.0), new=(1000, 50.0))
    with Router(bandits(), snapshots=folder, disk=tmp_path / "disk") as router:
        assert router.wait_until_ready(LONGEST_S)
    of = bandits(staleness={"fresh": "1ms", "hard": "1h"})
    with Router(of, snapshots=tmp_path / "gone", disk=tmp_path / "disk") as router:
        decision = router.route("home_row", {"plan": "free"})
        assert (decision.rung, decision.choice.snapshot_version) == ("disk", 1)


def test_a_forked_child_follows_logs_and_draws_by_itself(file, store, tmp_path):
    (path, write), (folder, put) = file, store
    put(cf=(10, 1.0))
    with Router(path, snapshots=folder, log=tmp_path / "log", poll_interval_s=0.01, bandits_poll_s=0.01) as router:
        assert router.wait_until_ready(LONGEST_S)
        router.log(router.route("home_row"), items=["parent"])
        child = os.fork()
        if child == 0:
            code = 1
            try:
                write(bandits_text(policy=ONLY_CF))
                put(cf=(20, 2.0))
                until(lambda: router.route("home_row").arm_id == "cf")
                until(lambda: router.route("home_row").choice.snapshot_version == 2)
                router.log(router.route("home_row"), items=["child"])
                router.close()
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        until(lambda: router.route("home_row").choice.snapshot_version == 2)
    files = {name.name: name.read_text() for name in (tmp_path / "log").glob("decisions-*")}
    assert len(files) == 2
    assert sorted("child" in text for text in files.values()) == [False, True]
    assert [text.count("\n") for text in files.values()] == [1, 1]


def test_requests_are_answered_while_file_and_snapshots_change_all_the_time(file, store):
    (path, write), (folder, put) = file, store
    put(cf=(10, 1.0), vae=(10, 1.0), new=(10, 1.0))
    errors, stop = [], threading.Event()

    def ask():
        try:
            while not stop.is_set():
                decision = router.route("home_row", {"plan": "free"}, user_key="u1")
                assert sum(decision.propensities.values()) == pytest.approx(1)
                router.log(decision)
        except BaseException as error:
            errors.append(error)

    lines = []
    with Router(
        path, snapshots=folder, log=lambda kind, line: lines.append(line), poll_interval_s=0.005, bandits_poll_s=0.005
    ) as router:
        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for number in range(10):
            put(cf=(10 + number, 1.0), vae=(10, 1.0 + number / 10), new=(10, 1.0))
            write(bandits_text(policy={"kind": "thompson_beta", "floor": 0.01 * (number % 3)}))
            time.sleep(0.02)
        until(lambda: router.route("home_row").choice.snapshot_version == 11)
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []
    assert len(lines) > 100
