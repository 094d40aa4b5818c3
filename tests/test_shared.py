"""`build_once`, by which workers share what is expensive to build."""

from __future__ import annotations

import multiprocessing
import pathlib

import pytest

from tests.shared import build_once


class Factory(pytest.TempPathFactory):
    """A factory whose folder is the given one."""

    def __init__(self, base: pathlib.Path) -> None:
        self.base = base

    def getbasetemp(self) -> pathlib.Path:
        return self.base


def build(folder: pathlib.Path) -> pathlib.Path:
    (folder / "file").write_text("built")
    with (folder.parent / "calls").open("a") as calls:
        calls.write("x")
    return folder / "file"


def use(base: pathlib.Path) -> pathlib.Path:
    return build_once(Factory(base), "thing", build)


def test_workers_build_once_and_read_the_same_folder(tmp_path: pathlib.Path) -> None:
    workers = [tmp_path / f"popen-gw{number}" for number in range(3)]
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        found = pool.map(use, workers, chunksize=1)
    assert set(found) == {tmp_path / "shared" / "thing" / "file"}
    assert found[0].read_text() == "built"
    assert (tmp_path / "shared" / "calls").read_text() == "x"


def test_a_run_without_workers_shares_its_own_folder(tmp_path: pathlib.Path) -> None:
    assert use(tmp_path) == use(tmp_path) == tmp_path / "shared" / "thing" / "file"


def test_a_build_that_fails_is_repeated_in_an_empty_folder(tmp_path: pathlib.Path) -> None:
    def fail(folder: pathlib.Path) -> None:
        (folder / "half").touch()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        build_once(Factory(tmp_path), "thing", fail)
    file = use(tmp_path)
    assert [path.name for path in file.parent.iterdir()] == ["file"]
