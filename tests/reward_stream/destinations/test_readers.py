"""What only a router's readers do: conditional requests, web servers, timeouts, and dropping connections after a fork.

`test_contract` holds that they read what the writers publish.
"""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from pipelines.reward_stream.destinations.factory import open_destination
from pipelines.reward_stream.destinations.interface import publish
from serving_client import extras
from serving_client.contracts.times import wall_clock_us
from serving_client.snapshots.deadlines import TOTAL_S, joined
from serving_client.snapshots.dynamodb import DynamoStore, head_key
from serving_client.snapshots.files import NotModified
from serving_client.snapshots.published import AddressError, Damaged, Owner, Published, StoreError, read_latest
from serving_client.snapshots.stores import open_store
from tests.reward_stream.destinations import web_stub
from tests.reward_stream.destinations.test_contract import NAMES
from tests.serving.snapshots.documents import published
from tests.third_party import processes
from tests.third_party.environments import ROOT

NAME = "home_row"


def document(version: int) -> bytes:
    return b"version %d" % version


@pytest.fixture
def web(tmp_path, surroundings):
    with web_stub.running(tmp_path) as server:
        yield server


@pytest.fixture
def behind_web(tmp_path):
    return open_destination(str(tmp_path / "live"))


def test_a_web_server_serves_what_a_directory_holds(web, behind_web):
    store = open_store(web.uri + "/")
    assert read_latest(store, NAME) is None
    for name in NAMES:
        publish(behind_web, name, document, Owner("one", 30.0))
        assert read_latest(store, name) == Published(1, b"version 1", Owner("one", 30.0))
    publish(behind_web, "A", document)
    assert read_latest(store, "A") == Published(2, b"version 2")


def test_a_pointer_that_has_not_changed_is_not_sent_again(web, behind_web):
    publish(behind_web, NAME, document)
    store = open_store(web.uri)
    pointer = store.pointer(NAME)
    assert store.pointer(NAME) == pointer
    publish(behind_web, NAME, document)
    assert store.pointer(NAME).version == 2
    assert web.answered == [200, 304, 200]


@pytest.mark.parametrize("place", ["s3", "gcs"], indirect=True)
def test_a_bucket_answers_a_known_tag_without_a_body(place):
    destination = open_destination(place.uri)
    publish(destination, NAME, document)
    store = open_store(place.uri)
    pointer = store.pointer(NAME)
    found = store._files.read(f"{NAME}/LATEST")
    with pytest.raises(NotModified):
        store._files.read(f"{NAME}/LATEST", found.tag)
    assert store.pointer(NAME) == pointer
    publish(destination, NAME, document)
    assert store._files.read(f"{NAME}/LATEST", found.tag).tag != found.tag
    assert store.pointer(NAME).version == 2
    store.forked()
    assert store.pointer(NAME).version == 2


def test_a_pointer_that_was_removed_is_not_remembered(web, behind_web, tmp_path):
    publish(behind_web, NAME, document)
    store = open_store(web.uri)
    assert store.pointer(NAME) is not None
    (tmp_path / "live" / NAME / "LATEST").unlink()
    assert store.pointer(NAME) is None
    publish(behind_web, NAME, document)
    assert store.pointer(NAME).version == 2


def test_a_password_goes_with_every_request_and_into_no_message(web, behind_web, caplog):
    caplog.set_level("INFO")  # httpx logs every address
    publish(behind_web, NAME, document)
    store = open_store(web.uri.replace("http://", "http://reader:secret@"))
    assert read_latest(store, NAME) == Published(1, b"version 1")
    assert web.authorizations == ["Basic cmVhZGVyOnNlY3JldA=="] * 2
    web.broken = True
    with pytest.raises(StoreError, match=r"home_row/LATEST: the server answers 503; check the address") as caught:
        store.pointer(NAME)
    assert "LATEST" in caplog.text
    assert "secret" not in f"{caught.value}{store!r}{caplog.text}"


def test_a_damaged_document_is_named(web, behind_web, tmp_path):
    publish(behind_web, NAME, document)
    (tmp_path / "live" / NAME / "1.json").write_bytes(b"torn")
    for uri in (web.uri, str(tmp_path / "live")):
        with pytest.raises(Damaged, match=r"1\.json: has sha256 \w+… and the pointer says"):
            read_latest(open_store(uri), NAME)


class Table:
    """A DynamoDB table with one item under each sort key."""

    uri = "dynamodb://table"

    def __init__(self, items):
        self.items = items

    def get(self, place, item):
        return self.items.get(item)


POINTER = {"version": {"N": "3"}, "sha256": {"S": "ab"}}
HEAD = {"data": {"B": b"not zlib"}, "parts": {"N": "1"}, "attempt": {"S": "a"}}


@pytest.mark.parametrize("item", [{}, POINTER | {"version": {"S": "3"}}, POINTER | {"version": {"N": "1.5"}}])
def test_a_damaged_pointer_of_dynamodb_is_named(item):
    with pytest.raises(Damaged, match="dynamodb://table: home_row LATEST: has no number version"):
        DynamoStore(Table({"LATEST": item})).pointer(NAME)


@pytest.mark.parametrize("head", [{}, HEAD, HEAD | {"parts": {}}, HEAD | {"parts": {"N": "two"}}])
def test_a_damaged_head_of_dynamodb_is_named(head):
    store = DynamoStore(Table({"LATEST": POINTER, head_key(3): head}))
    with pytest.raises(Damaged, match="home_row version 3: cannot be unpacked"):
        read_latest(store, NAME)


FORKED = """
import os, sys, time
from serving_client.snapshots.follow import SnapshotFollower
from serving_client.snapshots.stores import open_store
from tests.serving.snapshots.test_follow import bandits

versions = []
follower = SnapshotFollower(open_store(sys.argv[1]), bandits(), report=print, poll_interval_s=0.02,
                            on_new=lambda snapshot: versions.append(snapshot.version))
follower.start()

def wait(version):
    until_s = time.monotonic() + 20
    while versions[-1:] != [version] and time.monotonic() < until_s:
        time.sleep(0.005)
    assert versions[-1:] == [version], versions

wait(1)
child = os.fork()
if not child:
    wait(2)
    os._exit(7)
print("forked", flush=True)
wait(2)
print(os.waitpid(child, 0)[1] >> 8)
"""


def test_parent_and_child_of_a_fork_both_go_on_with_connections_of_their_own(web, behind_web):
    def snapshot(version: int) -> bytes:
        return published(version, published_at_us=wall_clock_us())

    publish(behind_web, NAME, snapshot)
    command = [sys.executable, "-c", FORKED, web.uri]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "forked\n"
        publish(behind_web, NAME, snapshot)
        assert process.stdout.read() == "7\n"


def test_a_body_that_drips_is_given_up(monkeypatch):
    began_s = time.monotonic()
    assert joined("x", began_s, iter([b"a", b"b"])) == b"ab"
    with pytest.raises(TimeoutError, match="x: is not read after 5 s"):
        joined("x", began_s - TOTAL_S, iter([b"a", b"b"]))


@pytest.mark.parametrize(
    "uri",
    ["http://127.0.0.1:{port}/x", "redis://127.0.0.1:{port}/x", "dynamodb://table?endpoint=http://127.0.0.1:{port}"],
)
def test_a_store_that_is_down_raises_at_once_and_again(uri, surroundings):
    store = open_store(uri.format(port=processes.free_port()))
    for _ in range(2):
        with pytest.raises(Exception, match=r"Connection refused|Could not connect"):
            store.pointer(NAME)
        store.forked()


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("", "'' is not an address of snapshots; use a directory, s3://BUCKET/PREFIX"),
        ("ftp://x/y", "'ftp://x/y' is not an address of snapshots"),
        ("s3://", "s3://: the bucket name is missing; write s3://BUCKET/PREFIX"),
        ("gs:///x", "the bucket name is missing; write gs://BUCKET/PREFIX"),
        ("https:///x", "https:///x: is not the address of a folder; write https://HOST/PATH"),
        ("https://u:secret@h/x#y", "https://h/x: is not the address of a folder"),
        ("https://h/x?sig=secret", "https://h/x: is not the address of a folder"),
        ("dynamodb://", "names no table"),
        ("redis://host:6379", "names no server or no prefix"),
    ],
)
def test_an_invalid_address_is_one_sentence(uri, says):
    with pytest.raises(AddressError) as caught:
        open_store(uri)
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "extra"),
    [
        ("s3://b", "s3"),
        ("gs://b", "gcs"),
        ("http://h", "http"),
        ("dynamodb://table", "dynamodb"),
        ("redis://h/p", "redis"),
    ],
)
def test_a_missing_client_library_is_named_at_once(uri, extra, monkeypatch):
    def absent(module: str) -> None:
        raise ModuleNotFoundError(f"no module {module}", name=module)

    monkeypatch.setattr(extras.importlib, "import_module", absent)
    with pytest.raises(extras.MissingExtra, match=rf"pip install 'recbeam\[{extra}\]'"):
        open_store(uri)
