"""Faults of the disk: counted, logged once per change, tried again, and never half a line.

Root may write everywhere, so a missing permission is tested in a process that gives up its rights.
"""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from pipelines.reward_stream.sources.file_state import whole_lines
from serving_client.router import log_series
from serving_client.router.log_files import LogFiles
from tests.serving.router.logs import files, lines_of, run


def test_a_missing_folder_is_counted_logged_once_and_tried_again(
    make: Callable[..., LogFiles], tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    log, folder = make(), tmp_path / "log"
    log.write(b"a\n")
    log.flush()
    shutil.rmtree(folder)
    log.write(b"b\n")
    assert not log.flush()
    assert not log.flush()
    assert log.counts().faults == {"folder_missing": 2}
    assert not folder.exists()  # it may be a disk that is not mounted
    folder.mkdir()
    log.write(b"c\n")
    assert log.flush()
    assert lines_of(folder) == [b"b", b"c"]
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert f"{folder}: decisions cannot be written (folder_missing: " in messages[0]
    assert messages[1] == f"{folder}: decisions are written again; 0 lines were lost"


def test_the_fault_names_the_loss(
    make: Callable[..., LogFiles], tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "log").write_text("a file where the folder should be")
    log = make(max_queue_bytes=200)
    log.write(b"a\n")
    log.flush()
    assert [log.write(b"x" * 40 + b"\n") for _ in range(3)] == [True, False, False]
    fault = next(iter(log.counts().faults))
    assert log.counts().lost == {fault: 2}
    (tmp_path / "log").unlink()
    assert log.flush()
    assert caplog.records[-1].getMessage().endswith("decisions are written again; 2 lines were lost")


def test_a_file_that_somebody_removes_is_followed_by_a_new_one(
    make: Callable[..., LogFiles], tmp_path: pathlib.Path
) -> None:
    log = make()
    log.write(b"a\n")
    log.flush()
    files(tmp_path / "log")[0].unlink()
    log.write(b"b\n")
    log.flush()
    assert lines_of(tmp_path / "log") == [b"b"]


def test_a_file_that_somebody_cut_is_followed_by_a_new_one(
    make: Callable[..., LogFiles], tmp_path: pathlib.Path
) -> None:
    log = make()
    log.write(b"a\n")
    log.flush()
    os.truncate(files(tmp_path / "log")[0], 0)
    log.write(b"b\n")
    log.flush()
    assert sorted(path.read_bytes() for path in files(tmp_path / "log")) == [b"", b"b\n"]


def test_a_descriptor_that_another_file_got_is_never_written_to(
    make: Callable[..., LogFiles], tmp_path: pathlib.Path
) -> None:
    """A program that becomes a daemon closes all descriptors. The next file it opens gets the log's number."""
    log = make()
    log.write(b"a\n")
    log.flush()
    file = log._series._file
    assert file is not None
    (tmp_path / "theirs").write_bytes(b"a\n")  # even a file of the same size
    with open(tmp_path / "theirs", "ab") as theirs:
        os.dup2(theirs.fileno(), file.descriptor)
        log.write(b"b\n")
        log.flush()
        assert os.path.samestat(os.fstat(file.descriptor), os.fstat(theirs.fileno()))  # nor closed
        os.close(file.descriptor)
    assert (tmp_path / "theirs").read_bytes() == b"a\n"
    assert lines_of(tmp_path / "log") == [b"a", b"b"]


def test_a_write_that_fails_in_the_middle_of_a_line_leaves_no_half_line_before_others(
    make: Callable[..., LogFiles], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where even cutting fails, the half line is the end of its file, and a reader of whole lines passes over it."""

    def fails(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    log = make()
    log.write(b"a\n")
    log.flush()
    with monkeypatch.context() as patched:
        patched.setattr(log_series.os, "writev", lambda descriptor, lines: os.write(descriptor, b"".join(lines)[:4]))
        write = os.write
        patched.setattr(log_series.os, "write", lambda d, data: write(d, data) if len(data) == 4 else fails())
        patched.setattr(log_series.os, "ftruncate", fails)
        log.write(b"b\n")
        log.write(b"cccccc\n")
        assert not log.flush()
    assert log.counts().faults == {"io_error": 1}
    assert log.flush()
    first, second = files(tmp_path / "log")
    assert [first.read_bytes(), second.read_bytes()] == [b"a\nb\ncc", b"cccccc\n"]
    with open(first, "rb") as stream:
        assert whole_lines(stream, at=0, limit=1_000, end=None) == (b"a\nb\n", False)  # what reward_stream reads
    assert log.counts().written == 3


FULL_DISK = """
import logging, os, pathlib, resource, sys
from serving_client.router.log_files import LogFiles
logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(message)s")
folder = pathlib.Path(sys.argv[1])
log = LogFiles(folder, "decisions", flush_interval_s=3600, max_queue_bytes=400_000)
def written():
    return [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().split(b"\\n")]
def fill(first, count):
    for number in range(first, first + count):
        log.write(b"%d" % number + b"x" * 1000 + b"\\n")
"""
TINY_DISK = (
    FULL_DISK
    + """
other = folder / "other"
other.write_bytes(b"x" * 200_000)
fill(0, 120)
assert not log.flush()
counts = log.counts()
assert counts.faults == {"disk_full": 1}, counts
assert 0 < counts.written < 120 and counts.queued == 120 - counts.written, counts
assert not log.flush()
assert written()[-1] == b"", "half a line is left"
fill(120, 400)
assert log.counts().lost["disk_full"] > 0, log.counts()
other.unlink()
assert os.system(f"mount -o remount,size=8m tmpfs {folder}") == 0
assert log.flush(), log.counts()
kept = 520 - log.counts().lost["disk_full"]
lines = [line for line in written() if line]
assert [line.rstrip(b"x") for line in lines] == [b"%d" % number for number in range(kept)], lines
assert {len(line) - len(line.rstrip(b"x")) for line in lines} == {1000}
assert log.counts().files == 1
"""
)
LIMITED_FILE = (
    FULL_DISK
    + """
resource.setrlimit(resource.RLIMIT_FSIZE, (50_500, resource.RLIM_INFINITY))
fill(0, 120)
while not log.flush():
    pass
lines = written()
assert [line.rstrip(b"x") for line in lines if line] == [b"%d" % number for number in range(120)], lines
assert log.counts().faults.keys() == {"file_too_large"}
assert log.counts().files == 3
assert not log.counts().lost
"""
)
NO_RIGHTS = (
    FULL_DISK
    + """
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
fill(0, 2)
assert not log.flush()
assert log.counts().faults == {"no_permission": 1}, log.counts()
assert log.counts().queued == 2
os._exit(0)
"""
)
READ_ONLY = (
    FULL_DISK
    + """
os.system(f"mount -o remount,ro tmpfs {folder}")
fill(0, 2)
assert not log.flush()
assert log.counts().faults == {"read_only": 1}, log.counts()
os.system(f"mount -o remount,rw tmpfs {folder}")
assert log.flush()
assert len([line for line in written() if line]) == 2
"""
)


def on_a_tiny_disk(folder: pathlib.Path) -> tuple[str, ...]:
    """Return the beginning of a command that sees a real file system of 256 KiB at the folder, without being root."""
    mount = f'mount -t tmpfs -o size=256k tmpfs {folder} && exec "$@"'
    return ("unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh")


@pytest.mark.needs("unshare")
def test_a_full_disk_leaves_whole_lines_and_loses_only_what_the_queue_cannot_hold(tmp_path: pathlib.Path) -> None:
    printed = run(TINY_DISK, tmp_path, *on_a_tiny_disk(tmp_path))
    assert printed.count("decisions cannot be written (disk_full: [Errno 28] No space left on device)") == 1
    assert printed.count("decisions are written again") == 1


@pytest.mark.needs("unshare")
def test_a_disk_that_becomes_read_only_is_tried_again(tmp_path: pathlib.Path) -> None:
    assert "(read_only: [Errno 30]" in run(READ_ONLY, tmp_path, *on_a_tiny_disk(tmp_path))


def test_a_limit_on_the_size_of_files_begins_new_files(tmp_path: pathlib.Path) -> None:
    """A file of 50,500 bytes takes 50 lines and half of another, which is cut off."""
    assert "(file_too_large: [Errno 27] File too large)" in run(LIMITED_FILE, tmp_path)


def test_a_folder_without_write_permission_is_counted(tmp_path: pathlib.Path) -> None:
    tmp_path.chmod(0o555)
    assert "(no_permission: [Errno 13]" in run(NO_RIGHTS, tmp_path)
