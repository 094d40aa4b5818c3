"""A local folder that writers share; tests/reward_stream/destinations holds buckets to the same rules."""

from __future__ import annotations

import os
import pathlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from transforms.errors import BadUsage
from transforms.files.shared_folder import LocalFolder, open_folder


@pytest.fixture
def folder(tmp_path):
    return LocalFolder(tmp_path / "base")


def test_a_file_is_created_once_and_read_whole(folder):
    assert folder.read("a/1") is None
    assert not folder.exists("a/1")
    folder.create("a/1", b"one")
    with pytest.raises(FileExistsError):
        folder.create("a/1", b"two")
    assert folder.read("a/1").data == b"one"
    assert folder.exists("a/1")


def test_a_file_is_replaced_only_if_it_is_as_it_was_read(folder):
    assert not folder.replace("a/x", b"one", "some tag")
    assert folder.replace("a/x", b"one", None)
    assert not folder.replace("a/x", b"two", None)
    tag = folder.read("a/x").tag
    assert folder.replace("a/x", b"two", tag)
    assert not folder.replace("a/x", b"three", tag)
    assert folder.read("a/x").data == b"two"


def test_of_writers_that_count_up_none_is_overwritten(folder):
    """Eight times fifty increments of one number, each tried until nobody came between."""

    def count(_: int) -> None:
        for _ in range(50):
            while True:
                found = folder.read("n")
                number = int(found.data) if found else 0
                if folder.replace("n", b"%d" % (number + 1), found.tag if found else None):
                    break

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(8)))
    assert folder.read("n").data == b"400"


def test_a_failed_write_leaves_nothing(folder, tmp_path, monkeypatch):
    def broken(*_: object) -> None:
        raise OSError("disk full")

    folder.create("a/1", b"one")
    monkeypatch.setattr(os, "fsync", broken)
    for write in (lambda: folder.create("a/2", b"x"), lambda: folder.replace("a/1", b"x", folder.read("a/1").tag)):
        with pytest.raises(OSError, match="disk full"):
            write()
    assert folder.read("a/1").data == b"one"
    assert {path.name for path in (tmp_path / "base" / "a").iterdir()} == {"1", ".lock"}


def test_files_and_folders_are_listed_with_their_times(folder):
    assert folder.names("a") == []
    assert folder.folders() == []
    folder.create("a/1", b"one")
    folder.create("a/b/2", b"two")
    os.utime(folder._base / "a" / "1", ns=(0, 1_500_000_000_123_456_000))
    assert folder.names("a") == ["1"]
    assert folder.written_us("a") == {"1": 1_500_000_000_123_456}
    assert folder.folders() == ["a"]
    folder.remove(["a/1", "a/absent"])
    assert folder.names("a") == []


def test_a_file_in_the_place_of_the_folder_is_no_file_that_exists(tmp_path):
    (tmp_path / "base").write_text("x")
    folder = LocalFolder(tmp_path / "base")
    for write in (lambda: folder.create("1", b""), lambda: folder.replace("1", b"", None)):
        with pytest.raises(NotADirectoryError, match="base: is a file, not a folder; remove it or use another folder"):
            write()


def test_an_unknown_scheme_is_one_sentence():
    with pytest.raises(BadUsage, match="hdfs://x/y: hdfs:// is not supported"):
        open_folder("hdfs://x/y")
    assert isinstance(open_folder("x/y"), LocalFolder)
    assert pathlib.Path("x/y") == open_folder("x/y")._base
