"""The thread that follows stores and files: it survives exceptions and forks, and ends when it is told to."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from serving_client.background import Background
from tests.third_party.environments import ROOT

FOREVER_S = 3600.0


def nothing() -> None:
    pass


def background(step: Callable[[], None], interval_s: float = FOREVER_S, **settings: Callable[..., None]) -> Background:
    failed = settings.get("failed", nothing)
    return Background("test", step, failed=failed, forked=nothing, interval_s=interval_s, rng=random.Random(1))


@pytest.mark.parametrize("interval_s", [0, -1.0, float("nan"), float("inf")])
def test_a_thread_without_a_pause_between_steps_is_refused(interval_s: float) -> None:
    with pytest.raises(ValueError, match=r"the interval of thread test is .* s; use seconds greater than 0"):
        background(nothing, interval_s)


def test_an_exception_does_not_end_the_thread() -> None:
    errors: list[Exception] = []
    fourth = threading.Event()

    def step() -> None:
        if len(errors) == 3:
            fourth.set()
            return
        raise ZeroDivisionError(str(len(errors)))

    thread = background(step, 0.001, failed=errors.append)
    thread.start()
    assert fourth.wait(10)
    thread.close()
    assert [str(error) for error in errors] == ["0", "1", "2"]


def test_close_ends_the_wait_and_start_begins_again() -> None:
    stepped = threading.Semaphore(0)
    thread = background(lambda: stepped.release())
    for _ in range(2):
        thread.start()
        thread.start()
        assert stepped.acquire(timeout=10)
        assert not thread.is_closing
        thread.close()
        thread.close()
        assert thread.is_closing
    assert not stepped.acquire(blocking=False)
    assert not [one for one in threading.enumerate() if one.name == "test"]


def test_a_step_may_close_its_own_thread() -> None:
    closed = threading.Event()

    def step() -> None:
        thread.close()
        closed.set()

    thread = background(step)
    thread.start()
    assert closed.wait(10)


def test_waits_differ_by_a_fifth_at_most() -> None:
    thread = background(nothing, 5.0)
    waits = [thread._wait_s() for _ in range(1000)]
    assert 4.0 <= min(waits) < 4.1
    assert 5.9 < max(waits) <= 6.0


class Counted(random.Random):
    """Counts how often it is seeded."""

    seeds = 0

    def seed(self, *seed: object) -> None:
        self.seeds += 1
        super().seed(*seed)


def test_a_child_draws_other_waits_than_its_parent() -> None:
    rng = Counted()
    thread = Background("test", nothing, failed=print, forked=nothing, interval_s=FOREVER_S, rng=rng)
    before = rng.seeds
    thread.restart_in_child()
    thread.close()
    assert rng.seeds == before + 1


SCRIPT = """
import os, random, sys, threading
from serving_client.background import Background

stepped, forked = threading.Event(), []
def step():
    stepped.set()
thread = Background("test", step, failed=print, forked=lambda: forked.append(os.getpid()), interval_s=0.05,
                    rng=random.Random(1))
thread.start()
assert stepped.wait(10)
parent = os.getpid()
child = os.fork()
if not child:
    assert forked == [os.getpid()]
    stepped.clear()
    assert stepped.wait(10), "no thread of its own"
    os._exit(7)
print(os.waitpid(child, 0)[1] >> 8, forked)
# The interpreter ends while the thread runs.
"""


def test_a_forked_child_has_a_thread_of_its_own_and_the_end_of_the_program_ends_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "7 []\n"
    assert done.stderr == ""
