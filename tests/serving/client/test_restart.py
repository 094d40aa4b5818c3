"""Servers that restart on their port under load: no failed call where another replica, or a wait, can help."""

from __future__ import annotations

import concurrent.futures
import threading
import time

import pytest

from serving_client import errors
from tests.serving.client.stub_server import MODEL, RANKING, StubServer


class Load:
    """Threads that call `recommend` until the block ends; keeps every error, and every target that answered."""

    def __init__(self, client, threads=4, **options) -> None:
        self.client, self.options = client, options
        self.stop = threading.Event()
        self.errors, self.answers = [], []
        self.pool = concurrent.futures.ThreadPoolExecutor(threads)
        self.threads = threads

    def __enter__(self):
        self.running = [self.pool.submit(self._run) for _ in range(self.threads)]
        self.wait_for(20)
        return self

    def __exit__(self, *error):
        self.stop.set()
        self.pool.shutdown()
        for one in self.running:
            one.result()

    def wait_for(self, count, target=None):
        """Until so many more answers came (from that target)."""
        begin = len(self.answers)
        until = time.monotonic() + 15
        while sum(1 for answer in self.answers[begin:] if target in (None, answer)) < count:
            assert time.monotonic() < until, f"no answers from {target}; {self.errors[-3:]}"
            time.sleep(0.005)

    def _run(self):
        while not self.stop.is_set():
            try:
                found = self.client.recommend(["a"], **self.options)
                assert found.items == RANKING[:6]
                self.answers.append(found.target)
            except errors.ServingError as error:
                self.errors.append(error)
            time.sleep(0.002)


@pytest.mark.parametrize("grace_s", [2.0, None], ids=["graceful", "at once"])
def test_a_rolling_restart_of_two_replicas_fails_no_call(grace_s, driver):
    """At once means that calls under way are cut off: they are repeated at the other replica."""
    replicas = [StubServer(), StubServer()]
    try:
        with driver.client([replica.target for replica in replicas], model=MODEL) as client, Load(client) as load:
            for replica in replicas:
                replica.restart(grace_s, down_s=0.2)
                load.wait_for(5, replica.target)
        assert load.errors == []
    finally:
        for replica in replicas:
            replica.stop()


def test_with_wait_for_ready_a_single_replica_may_restart(driver, stub):
    options = {"wait_for_ready": True, "timeout_s": 5.0}
    with driver.client(stub.target, model=MODEL) as client, Load(client, **options) as load:
        stub.restart(2.0, down_s=0.3)
        load.wait_for(20)
    assert load.errors == []


def test_without_it_calls_fail_while_the_server_is_away_and_go_on_within_two_seconds(driver, stub):
    with driver.client(stub.target, model=MODEL) as client:
        assert client.recommend(["a"]).items
        stub.stop()
        with pytest.raises(errors.Unavailable):
            client.recommend(["a"])
        stub.start(stub.port)
        client.wait_until_ready(2.0)
        assert client.recommend(["a"]).items
