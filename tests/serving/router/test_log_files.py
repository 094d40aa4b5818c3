"""Log files: whole lines in order, bounded memory, files of limited size and age, and removal of old files."""

from __future__ import annotations

import logging
import os
import pathlib
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from serving_client.contracts.bandits import Arm, Attribution, Bandit, Bandits
from serving_client.router.log_calls import LogCalls
from serving_client.router.log_files import LogFiles
from serving_client.router.log_series import LogKeep
from tests.serving.router.logs import Clock, files, lines_of, numbered

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US


def test_lines_are_appended_in_order_to_a_file_with_the_promised_name(
    make: Callable[..., LogFiles], tmp_path: pathlib.Path
) -> None:
    log = make()
    for line in numbered(2_000):
        assert log.write(line)
    assert log.counts().queued == 2_000
    assert log.flush()
    [path] = files(tmp_path / "log")
    assert path.read_bytes() == b"".join(numbered(2_000))
    assert re.fullmatch(rf"decisions-[\w.]+-{os.getpid()}-20251124T160000000001Z-1\.jsonl", path.name)
    log.write(b"more\n")
    log.flush()
    assert path.read_bytes().endswith(b"1999\nmore\n")
    counts = log.counts()
    assert (counts.written, counts.queued, counts.queued_bytes, counts.files) == (2_001, 0, 0, 1)
    assert not counts.lost
    assert not counts.faults


def test_the_thread_writes_without_a_call(make: Callable[..., LogFiles]) -> None:
    log = make(flush_interval_s=0.01)
    log.write(b"a\n")
    until = time.monotonic() + 20
    while log.counts().written == 0 and time.monotonic() < until:
        time.sleep(0.005)
    assert log.counts().written == 1


def test_the_thread_writes_early_when_the_queue_is_filled_to_an_eighth(make: Callable[..., LogFiles]) -> None:
    log = make(max_queue_bytes=80_000)
    for _ in range(12):
        log.write(b"x" * 1_000 + b"\n")
    until = time.monotonic() + 20
    while log.counts().written == 0 and time.monotonic() < until:
        time.sleep(0.005)
    assert log.counts().written > 0


@pytest.mark.parametrize("limit", ["size", "age", "clock set back"])
def test_a_new_file_begins_at_its_limit(
    make: Callable[..., LogFiles], tmp_path: pathlib.Path, clock: Clock, limit: str
) -> None:
    log = make(max_file_bytes=10, max_file_age_s=600)
    log.write(b"12345678\n")
    log.flush()
    log.write(b"9" * (2 if limit == "size" else 0) + b"\n")
    if limit == "age":
        clock.us += 599_999_999
        log.flush()
        assert len(files(tmp_path / "log")) == 1
        clock.us += 1
        log.write(b"a\n")
    elif limit == "clock set back":
        clock.us -= HOUR_US
    log.flush()
    names = [path.name for path in files(tmp_path / "log")]
    assert [name.rpartition("-")[2] for name in names] == ["1.jsonl", "2.jsonl"]
    assert names[0].rpartition("-")[0] == names[1].rpartition("-")[0]


def test_an_idle_file_is_closed_at_its_age(make: Callable[..., LogFiles], clock: Clock) -> None:
    """A process that writes nothing for days must not come back to a file that was removed."""
    log = make()
    log.write(b"a\n")
    log.flush()
    before = open_descriptors()
    clock.us += 600_000_000
    log.flush()
    assert open_descriptors() == before - 1


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_what_overflows_the_queue_is_counted_and_memory_stays_bounded(make: Callable[..., LogFiles]) -> None:
    """A line of 52 bytes takes 100 bytes of the queue, so 10 of 12 lines fit into 1,000 bytes."""
    log = make(max_queue_bytes=1_000)
    log._writing.acquire()  # the disk hangs
    assert [log.write(b"x" * 51 + b"\n") for _ in range(12)] == [True] * 10 + [False] * 2
    assert log.counts().queued_bytes == 1_000
    assert log.counts().lost == {"queue_full": 2}
    assert not log.flush(timeout_s=0.01)
    log._writing.release()
    assert log.flush()
    assert log.write(b"x\n")


def test_many_threads_lose_nothing(make: Callable[..., LogFiles], tmp_path: pathlib.Path) -> None:
    log = make(flush_interval_s=0.001, max_file_bytes=2_000)

    def work(first: int) -> None:
        for line in numbered(1_000, first):
            log.write(line)

    threads = [threading.Thread(target=work, args=(1_000 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert sorted(map(int, lines_of(tmp_path / "log"))) == list(range(4_000))
    assert log.counts().written == 4_000
    assert log.counts().queued_bytes == 0


def test_after_close_a_line_is_lost_and_counted(make: Callable[..., LogFiles], tmp_path: pathlib.Path) -> None:
    log = make()
    log.write(b"a\n")
    log.close()
    log.close()
    assert not log.write(b"b\n")
    assert lines_of(tmp_path / "log") == [b"a"]
    assert log.counts().lost == {"closed": 1}


# Removal of old files


def bandits(window_us: int) -> Bandits:
    rules = Attribution(window_us, HOUR_US, max_future_us=MINUTE_US)
    return Bandits({"home": Bandit("home", 1, "cf", {"cf": Arm("cf", 1, "cf")}, {"kind": "fixed"}, rules)})


def test_no_file_is_removed_that_a_stream_may_still_read() -> None:
    """Twice a window of 3 h, a lateness of 1 h and a max_future of 1 min is 8 h and 2 min."""
    assert LogKeep(HOUR_US, bandits(3 * HOUR_US)).us == 8 * HOUR_US + 2 * MINUTE_US
    assert LogKeep(DAY_US, bandits(3 * HOUR_US)).us == DAY_US
    assert LogKeep(DAY_US, Bandits({})).us == DAY_US


def test_old_files_of_the_kind_are_removed_when_a_file_begins(
    make: Callable[..., LogFiles], tmp_path: pathlib.Path, clock: Clock
) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    ages_us = {
        "decisions-a-1-x-1.jsonl": DAY_US + 1,
        "decisions-a-1-x-2.jsonl": DAY_US - 1_000_000,
        "rewards-a-1-x-1.jsonl": DAY_US + 1,
        "decisions-a.txt": DAY_US + 1,
    }
    for name, age_us in ages_us.items():
        (folder / name).touch()
        os.utime(folder / name, ns=(0, (clock.us - age_us) * 1_000))
    (folder / "decisions-folder.jsonl").mkdir()
    os.utime(folder / "decisions-folder.jsonl", ns=(0, 0))
    log = make(keep=LogKeep(DAY_US, bandits(HOUR_US)))
    log.write(b"a\n")
    log.flush()
    left = {path.name for path in folder.iterdir()}
    assert left & set(ages_us) == set(ages_us) - {"decisions-a-1-x-1.jsonl"}
    assert "decisions-folder.jsonl" in left
    assert log.counts().removed == 1
    log.keep = LogKeep(MINUTE_US, bandits(HOUR_US))  # at least 4 h and 2 min
    clock.us += 4 * HOUR_US
    log.write(b"b\n")
    log.flush()
    assert log.counts().removed == 2


def test_without_keep_nothing_is_removed(make: Callable[..., LogFiles], tmp_path: pathlib.Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "decisions-a-1-x-1.jsonl").touch()
    os.utime(tmp_path / "log" / "decisions-a-1-x-1.jsonl", (0, 0))
    log = make()
    log.write(b"a\n")
    log.flush()
    assert len(files(tmp_path / "log")) == 2


# Arguments, and a function in place of files


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "a-b"}, "kind 'a-b' has characters other than a-z and _"),
        ({"folder": "a\0b"}, "contains NUL"),
        ({"max_queue_bytes": 0}, "max_queue_bytes must be greater than 0, not 0"),
        ({"flush_interval_s": -1.0}, "flush_interval_s must be greater than 0, not -1.0"),
        ({"max_file_bytes": 0}, "max_file_bytes"),
        ({"max_file_age_s": 0.0}, "max_file_age_s"),
    ],
)
def test_an_invalid_argument_is_refused(make: Callable[..., LogFiles], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_a_function_takes_the_lines_and_its_failures_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    taken: list[bytes] = []
    healthy = [True, False, False, True, False]

    def take(line: bytes) -> None:
        if not healthy.pop(0):
            raise RuntimeError("broker is down")
        taken.append(line)

    log = LogCalls(take, "decisions")
    with caplog.at_level(logging.WARNING):
        assert [log.write(line) for line in numbered(5)] == [True, False, False, True, False]
    assert taken == [b"0\n", b"3\n"]
    assert log.lost == {"call_failed": 3}
    assert [record.getMessage() for record in caplog.records] == [
        "the function that takes decisions failed: RuntimeError: broker is down"
    ] * 2
