"""What holds for every destination: first come first served, whole documents, a pointer that never falls."""

from __future__ import annotations

import collections
import hashlib
import json
import pickle
import random
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.reward_stream.destinations.factory import check, open_destination
from pipelines.reward_stream.destinations.interface import VersionExists, publish
from serving_client.snapshots.published import Owner, Pointer, Published, VersionMissing, read_latest
from serving_client.snapshots.stores import open_store
from tests.third_party.environments import ROOT

FOREVER_US = 2**52
NAME = "home_row"


@pytest.fixture
def destination(place):
    return open_destination(place.uri)


def document(version: int, writer: str = "one") -> bytes:
    """Larger than a page, so that half of it would be noticed; the version stands at both ends."""
    return json.dumps({"version": version, "writer": writer, "arms": [writer] * 2000, "zz": version}).encode()


def routed(place) -> Published | None:
    """What a router reads, with its own clients."""
    return read_latest(open_store(place.uri), NAME)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_nothing_is_there_at_first(place, destination):
    assert check(place.uri) == []
    assert destination.latest(NAME) is None
    assert routed(place) is None
    assert destination.highest(NAME) == 0
    assert destination.names() == []
    assert destination.prune(NAME, FOREVER_US) == 0


def test_a_reader_gets_what_was_published_last(place, destination):
    assert [publish(destination, NAME, document) for _ in range(11)] == list(range(1, 12))
    assert publish(destination, "_stream", document) == 1
    assert routed(place) == Published(11, document(11))
    assert open_destination(place.uri).highest(NAME) == 11
    assert destination.names() == ["_stream", NAME]


def test_the_pointer_names_the_stream_that_wrote_it(destination):
    for version, owner in ((1, None), (2, Owner("one", 30.0)), (3, Owner("two", 0.5)), (4, Owner("two", 0)), (5, None)):
        assert publish(destination, NAME, document, owner) == version
        assert destination.latest(NAME) == Published(version, document(version), owner)


def test_a_version_that_is_there_is_not_written_again(destination):
    destination.create(NAME, 1, document(1))
    for data in (document(1), document(1, "two")):
        with pytest.raises(VersionExists, match="another writer was faster"):
            destination.create(NAME, 1, data)
    destination.point(NAME, 1, digest(document(1)))
    assert destination.latest(NAME) == Published(1, document(1))


def test_a_version_counts_before_it_is_pointed_at(destination):
    publish(destination, NAME, document)
    destination.create(NAME, 2, document(2))
    assert destination.highest(NAME) == 2
    assert destination.latest(NAME) == Published(1, document(1))


def test_each_notices_what_another_writer_published(place):
    one, two = open_destination(place.uri), open_destination(place.uri)
    assert [publish(writer, NAME, document) for writer in (one, two, two, one, two)] == [1, 2, 3, 4, 5]


def test_the_pointer_never_falls(destination):
    for version in (1, 2, 3):
        destination.create(NAME, version, document(version))
    for version in (2, 1, 2):
        destination.point(NAME, version, digest(document(version)))
        assert destination.latest(NAME) == Published(2, document(2))
    destination.point(NAME, 3, digest(document(3)))
    assert destination.latest(NAME) == Published(3, document(3))


def test_of_eight_threads_exactly_one_creates_each_version(place):
    barrier, versions = threading.Barrier(8), range(1, 4 if place.is_slow else 9)

    def write(writer: int) -> list[int]:
        destination, won = open_destination(place.uri), []
        for version in versions:
            barrier.wait()
            data = document(version, f"writer {writer}")
            try:
                destination.create(NAME, version, data)
            except VersionExists:
                continue
            won.append(version)
            destination.point(NAME, version, digest(data))
        return won

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(write, range(8)))
    assert sorted(version for each in won for version in each) == list(versions)
    writer = next(index for index, each in enumerate(won) if versions[-1] in each)
    last = versions[-1]
    assert open_destination(place.uri).latest(NAME) == Published(last, document(last, f"writer {writer}"))


RACE = """
import os, sys
from pipelines.reward_stream.destinations.factory import open_destination
from pipelines.reward_stream.destinations.interface import VersionExists, publish
destination = open_destination(sys.argv[1])  # connects at its first call, so in each process anew
gate, opener = os.pipe()
children = []
for name in "abc":
    child = os.fork()  # imports take seconds, once is enough
    if not child:
        os.close(opener)
        os.read(gate, 1)  # until all three are there
        for _ in range(int(sys.argv[2])):
            try:
                version = publish(destination, "home_row", lambda version: (name * 99999).encode())
            except VersionExists:
                continue
            os.write(1, f"{name} {version}\\n".encode())
        os._exit(0)
    children.append(child)
os.close(opener)
sys.exit(sum(os.waitpid(child, 0)[1] != 0 for child in children))
"""


def test_of_three_processes_exactly_one_publishes_each_version(place):
    command = [sys.executable, "-c", RACE, place.uri, "4" if place.is_slow else "12"]
    race = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    wins = [line.split() for line in race.stdout.splitlines()]
    won = {int(version): name for name, version in wins}
    assert len(won) == len(wins)
    assert sorted(won) == list(range(1, len(won) + 1))
    assert routed(place) == Published(len(won), (won[len(won)] * 99999).encode())


def test_a_reader_never_sees_half_a_document_nor_a_falling_version(place, destination):
    done, seen = threading.Event(), collections.Counter()
    versions = 60 if place.is_slow else 200

    def look() -> None:
        reader, last = open_store(place.uri), 0
        while not done.is_set():
            found = read_latest(reader, NAME)
            if found is None:
                assert last == 0
                continue
            content = json.loads(found.data)
            assert content["version"] == content["zz"] == found.version >= last
            last = found.version
            seen[last] += 1

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(look)
        try:
            for _ in range(versions):
                publish(destination, NAME, document)
        finally:
            done.set()
        reading.result()
    assert len(seen) > 5
    assert destination.latest(NAME) == Published(versions, document(versions))


CRASH = """
import os, signal, sys
from pipelines.reward_stream.destinations.factory import open_destination
from pipelines.reward_stream.destinations.interface import publish
destination = open_destination(sys.argv[1])
destination.point = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
publish(destination, "home_row", lambda version: b"never pointed at")
"""


def test_a_writer_killed_before_it_points_leaves_the_store_readable_and_its_number_taken(place, destination):
    publish(destination, NAME, document)
    killed = subprocess.run([sys.executable, "-c", CRASH, place.uri], cwd=ROOT, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert routed(place) == Published(1, document(1))
    assert publish(destination, NAME, document) == 3
    assert routed(place) == Published(3, document(3))
    assert destination.prune(NAME, FOREVER_US) == 2  # the published and the forgotten one


def test_what_is_damaged_is_refused_with_a_sentence(place, destination):
    publish(destination, NAME, document)
    place.damage(NAME, 1)
    with pytest.raises(
        ValueError, match=r"1\S*: (has sha256 \w+… and the pointer says|cannot be unpacked .*; restore)"
    ):
        destination.latest(NAME)


def test_old_versions_go_and_the_pointed_one_and_higher_ones_stay(place, destination):
    for _ in range(4):
        publish(destination, NAME, document)
    destination.create(NAME, 5, document(5))
    publish(destination, "_stream", document)
    assert destination.prune(NAME, 0) == 0
    assert destination.prune(NAME, FOREVER_US) == 3
    assert destination.prune(NAME, FOREVER_US) == 0
    assert destination.latest(NAME) == Published(4, document(4))
    assert destination.highest(NAME) == 5
    destination.point(NAME, 5, digest(document(5)))
    assert destination.latest(NAME) == Published(5, document(5))
    assert destination.latest("_stream") == Published(1, document(1))
    destination.create(NAME, 3, b"its number is free again, as nobody will count down")
    assert open_destination(place.uri).highest(NAME) == 5


def test_a_version_lost_since_the_pointer_was_read_is_looked_for_once_more(place, destination):
    publish(destination, NAME, document)
    reader = open_store(place.uri)
    pointers = iter([Pointer(9, digest(b"")), reader.pointer(NAME)])
    assert read_latest(Overtaken(reader, pointers), NAME) == Published(1, document(1))
    destination.point(NAME, 7, digest(b""))
    for read in (destination.latest, lambda name: read_latest(open_store(place.uri), name)):
        with pytest.raises(VersionMissing, match=r"7.*is not there, and LATEST names it"):
            read(NAME)
    assert destination.highest(NAME) == 7


class Overtaken:
    """A store whose pointer changes between two reads."""

    def __init__(self, store, pointers):
        self.document = store.document
        self.pointer = lambda name: next(pointers)


NAMES = [
    "é bandit/100%",
    "../up",
    ".hidden",
    "a|b*?[c]",
    "naïve:Ωλ…日本",
    "{x}",
    'q"<>\\',
    "%41",
    "A",
    "LATEST",
    "*",
    "-",
]


def test_names_are_kept_apart_and_given_back(place, destination):
    for name in NAMES:
        assert publish(destination, name, lambda version, name=name: name.encode()) == 1
    assert destination.names() == sorted(NAMES)
    for name in NAMES:
        assert destination.latest(name) == Published(1, name.encode())


def test_two_megabytes_that_do_not_compress_come_back(place, destination):
    data = random.Random(1).randbytes(2_000_000)
    for _ in range(2):
        publish(destination, NAME, lambda version: data)
    assert routed(place) == Published(2, data)
    assert destination.prune(NAME, FOREVER_US) == 1
    assert routed(place) == Published(2, data)


def test_a_destination_travels_to_a_worker_before_and_after_its_first_call(place, destination):
    early = pickle.loads(pickle.dumps(destination))
    publish(destination, NAME, document)
    late = pickle.loads(pickle.dumps(destination))
    assert early.latest(NAME) == late.latest(NAME) == Published(1, document(1))
    assert publish(late, NAME, document) == 2
    assert re.fullmatch(rf"\w+\('{re.escape(place.uri)}'\)", repr(late))
