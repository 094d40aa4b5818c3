"""FileLog: a file is its name, whether it is new, grows, shrinks, changes, vanishes or comes back."""

from __future__ import annotations

import gzip
import os
import pathlib
import random
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.reward_stream.sources import files
from pipelines.reward_stream.sources.config import SOURCES
from pipelines.reward_stream.sources.files import FileLog
from pipelines.reward_stream.sources.interface import LineChunk, Position
from pipelines.reward_stream.sources.listing import list_files
from pipelines.reward_stream.sources.sequencer import Sequencer
from tests.reward_stream.reading import SPAN_US, START_US, Clock, Logs, S, decision, lines, reports, reward, watch

HORIZON_US = 64 * S
DAMAGED = gzip.compress(b"one\n" * 100)[:-4]


class Folder:
    """Files whose times of change are set, so that their order is known."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.changes = 0
        self.clock = Clock()

    def write(self, name: str, data: bytes, mode: str = "wb") -> pathlib.Path:
        path = self.path / name
        with open(path, mode) as out:
            out.write(data)
        self.changes += 1
        os.utime(path, (self.changes, self.changes))
        return path

    def log(
        self, chunk_bytes: int = 1_000, positions: dict[str, Position] | None = None, pattern: str = "*"
    ) -> FileLog:
        return FileLog(f"{self.path}/{pattern}", self.clock, chunk_bytes, HORIZON_US, 200_000, positions)

    def read(self, log: FileLog) -> list[LineChunk]:
        """What there is, a listing later."""
        self.clock.pass_s(1)
        chunks = []
        while (chunk := log.next()) is not None:
            chunks.append(chunk)
        return chunks

    def texts(self, log: FileLog) -> list[bytes]:
        return [chunk.lines for chunk in self.read(log)]


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files in the order in which they are opened."""
    names: list[str] = []

    def open_binary(name: str) -> BinaryIO:
        names.append(name)
        return open(name, "rb")

    monkeypatch.setattr(files, "open_binary", open_binary)
    return names


def test_files_come_in_the_order_of_their_times_and_names_each_once(folder: Folder) -> None:
    for name in ("b", "c", "a"):
        folder.write(name, name.encode() + b"\n")
    log = folder.log()
    assert folder.texts(log) == [b"b\n", b"c\n", b"a\n"]
    assert log.at_end and folder.texts(log) == []
    for name in ("e", "d"):
        os.utime(folder.write(name, name.encode() + b"\n"), (9, 9))
    assert folder.texts(log) == [b"d\n", b"e\n"]


def test_unfinished_names_and_folders_are_no_input(folder: Folder) -> None:
    for name in (".hidden", "a.tmp", "a.partial", "good"):
        folder.write(name, b"x\n")
    (folder.path / "below").mkdir()
    assert [pathlib.Path(chunk.partition).name for chunk in folder.read(folder.log())] == ["good"]
    (folder.path / "a.tmp").rename(folder.path / "a")
    assert sorted(list_files(f"{folder.path}/*")) == [str(folder.path / "a"), str(folder.path / "good")]


def test_patterns_may_reach_into_folders_and_a_folder_stands_for_its_files(folder: Folder) -> None:
    for name in ("2026/11", "2026/12"):
        (folder.path / name).mkdir(parents=True)
        folder.write(f"{name}/part", b"x\n")
    parts = {str(folder.path / "2026/11/part"), str(folder.path / "2026/12/part")}
    assert set(list_files(f"{folder.path}/*/*/part")) == parts
    assert set(list_files(f"{folder.path}/**")) == parts
    assert set(list_files(f"{folder.path}/2026/11")) == {str(folder.path / "2026/11/part")}
    assert list_files(f"{folder.path}/none/*") == {}


def test_a_growing_file_is_read_on_from_its_last_complete_line(folder: Folder) -> None:
    log = folder.log()
    folder.write("a", b"one\ntw")
    assert folder.texts(log) == [b"one\n"]
    assert log.at_end  # half a line waits
    folder.write("a", b"o\nthree\n", "ab")
    (chunk,) = folder.read(log)
    assert (chunk.start, chunk.end, chunk.lines, chunk.anew) == (4, 14, b"two\nthree\n", False)
    assert log.files_reread == 0


def test_half_a_line_counts_at_the_end_without_moving_the_position(folder: Folder) -> None:
    folder.write("a", b"one\ntwo")
    folder.write("b", b"whole\n")
    log = folder.log()
    folder.read(log)
    assert [(chunk.start, chunk.lines) for chunk in log.rest()] == [(4, b"two")]
    assert log.positions()[str(folder.path / "a")].end == 4


@pytest.mark.parametrize("changed", [b"1\n", b"ONE\ntwo\nthree\n"], ids=["shorter", "another beginning"])
def test_a_replaced_file_is_read_again_as_new_and_counted(folder: Folder, changed: bytes) -> None:
    log = folder.log()
    folder.write("a", b"one\ntwo\n")
    folder.read(log)
    folder.write("a", changed)
    first, *others = folder.read(log)
    assert first.anew and first.start == first.end == 0
    assert [chunk.lines for chunk in others] == [changed]
    assert log.files_reread == 1


def test_a_file_touched_without_a_change_is_not_read_again(folder: Folder) -> None:
    log = folder.log()
    folder.write("a", b"one\n")
    folder.read(log)
    folder.write("a", b"one\n")
    assert folder.read(log) == [] and log.files_reread == 0


def test_a_name_that_vanishes_is_known_when_it_comes_back_within_the_horizon(folder: Folder) -> None:
    log = folder.log()
    path = folder.write("a", b"one\n")
    folder.read(log)
    path.unlink()
    assert folder.read(log) == [] and log.expired() == []
    folder.write("a", b"one\ntwo\n")
    assert folder.texts(log) == [b"two\n"]
    path.unlink()
    folder.read(log)
    folder.clock.pass_s(HORIZON_US / S + 2)
    folder.read(log)
    assert log.expired() == [str(path)]
    log.forget(str(path))
    folder.write("a", b"one\n")
    assert folder.texts(log) == [b"one\n"]


def test_a_listed_file_never_expires(folder: Folder) -> None:
    log = folder.log()
    folder.write("a", b"one\n")
    for _ in range(5):
        folder.read(log)
        folder.clock.pass_s(HORIZON_US / S)
        assert log.next() is None
        assert log.expired() == []


def test_a_compressed_file_is_read_by_its_text(folder: Folder) -> None:
    log = folder.log(chunk_bytes=4)
    text = b"one\ntwo\nthree\n"
    folder.write("a.gz", gzip.compress(text))
    chunks = folder.read(log)
    assert b"".join(chunk.lines for chunk in chunks) == text and len(chunks) == 3
    again = folder.log(positions=dict(log.positions()))
    assert folder.read(again) == []
    half = dict(log.positions())
    half[str(folder.path / "a.gz")] = Position(8, 8, half[str(folder.path / "a.gz")].head.rpartition(":")[0], 0)
    assert folder.texts(folder.log(positions=half)) == [b"three\n"]


def test_a_file_that_cannot_be_read_is_tried_three_times_in_ten_seconds_and_then_set_aside(
    folder: Folder, caplog: pytest.LogCaptureFixture, opened: list[str]
) -> None:
    log = folder.log()
    path = folder.write("a.gz", DAMAGED)
    folder.write("b", b"b\n")
    assert folder.texts(log) == [b"b\n"] and not log.at_end and not log.is_read(str(path))
    for _ in range(9):
        assert folder.read(log) == []
    assert log.at_end and log.unreadable == 1 and not log.is_read(str(path))
    for _ in range(50):
        assert folder.read(log) == [] and log.at_end
    assert list(log.rest()) == []
    assert opened.count(str(path)) == 3
    (said,) = caplog.messages
    assert said.startswith(f"{path}: set aside") and "EOFError" in said and "replace it" in said


def test_a_file_that_is_repaired_before_it_is_set_aside_is_read(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    log = folder.log()
    folder.write("a.gz", DAMAGED)
    assert folder.read(log) == [] and not log.at_end
    folder.write("a.gz", gzip.compress(b"one\n"))
    folder.clock.pass_s(1)
    assert folder.texts(log) == [b"one\n"] and log.at_end and log.unreadable == 0
    assert not caplog.messages


def test_a_file_that_is_set_aside_is_tried_once_when_it_changes_and_holds_nothing_up(
    folder: Folder, caplog: pytest.LogCaptureFixture, opened: list[str]
) -> None:
    log = folder.log()
    path = folder.write("a.gz", DAMAGED)
    for _ in range(10):
        folder.read(log)
    for tries in (4, 5):
        folder.write("a.gz", DAMAGED)  # of another time
        for _ in range(10):
            assert folder.read(log) == [] and log.at_end and log.unreadable == 1
        assert opened.count(str(path)) == tries
    folder.write("a.gz", gzip.compress(b"one\n"))
    assert folder.texts(log) == [b"one\n"] and log.at_end and log.unreadable == 0
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("damaged", [DAMAGED, b"no gzip", b"\x1f\x8b\x08" + b"\xff" * 40], ids=["cut", "text", "bytes"])
def test_a_file_that_cannot_be_read_again_after_a_restart_is_waited_for_until_it_can_or_is_removed(
    folder: Folder, caplog: pytest.LogCaptureFixture, damaged: bytes
) -> None:
    log = folder.log()
    folder.write("a.gz", gzip.compress(b"1\n2\n"))
    folder.write("b", b"1\n")
    folder.read(log)
    positions = {name: Position(0, each.end, each.head, 0) for name, each in log.positions().items()}
    folder.write("a.gz", damaged)
    folder.write("c", b"new\n")
    again = folder.log(positions=positions)
    chunks = folder.read(again)
    assert [(chunk.lines, chunk.reread) for chunk in chunks] == [(b"1\n", True)] and again.rereading
    assert [chunk for _ in range(40) for chunk in folder.read(again)] == [] and again.rereading
    (said,) = caplog.messages
    assert "still open at the checkpoint" in said
    (folder.path / "a.gz").unlink()
    chunks = [chunk for _ in range(9) for chunk in folder.read(again)]
    assert [(chunk.lines, chunk.reread) for chunk in chunks] == [(b"new\n", False)]
    assert again.at_end and not again.rereading


def test_a_stream_ends_when_idle_and_matures_beside_a_file_that_cannot_be_read(tmp_path: pathlib.Path) -> None:
    logs, clock = Logs(tmp_path), Clock()
    logs.put("decisions", lines(decision(n, n) for n in range(100)))
    logs.put("rewards", lines([reward(1, 2)]))
    logs.put("rewards", DAMAGED, name="cut.jsonl.gz")
    config = logs.config(idle_after_us=dict.fromkeys(SOURCES, 5 * S), max_hold_us=8 * S, stop_when_idle_us=20 * S)
    sequencer = Sequencer(config, clock)
    watch(sequencer, clock, 9)
    logs.put("decisions", lines([decision(100, 200)]))
    report = reports(watch(sequencer, clock, 2))[-1]
    assert report.maturing_us == START_US + 200 * S - config.max_disorder_us
    assert report.files_unreadable == 1
    assert report.cut_us == report.maturing_us - SPAN_US  # the holding watermark went on, too
    assert reports(watch(sequencer, clock, 21))[-1].final and sequencer.ended


@pytest.mark.parametrize("pattern", ["*", "**/*"])
def test_an_entry_that_cannot_be_looked_at_is_left_out_with_one_warning(
    folder: Folder, caplog: pytest.LogCaptureFixture, pattern: str
) -> None:
    (folder.path / "loop").symlink_to("loop")
    (folder.path / "nowhere").symlink_to("nothing")
    folder.write("good", b"x\n")
    log = folder.log(pattern=pattern)
    assert folder.texts(log) == [b"x\n"]
    for _ in range(5):
        assert folder.read(log) == [] and log.at_end
    (said,) = caplog.messages
    assert said.startswith(f"{folder.path}/loop: left out")
    assert list(list_files(f"{folder.path}/{pattern}")) == [f"{folder.path}/good"]  # as a bounded run lists
    assert len(caplog.messages) == 2


@pytest.mark.parametrize("pattern", ["*", "**/*"])
def test_a_name_that_is_not_utf_8_is_left_out_with_one_warning(
    folder: Folder, caplog: pytest.LogCaptureFixture, pattern: str
) -> None:
    folder.write(os.fsdecode(b"caf\xe9"), b"never\n")
    folder.write("caf\u00e9", b"x\n")
    log = folder.log(pattern=pattern)
    assert folder.texts(log) == [b"x\n"]
    for _ in range(5):
        assert folder.read(log) == [] and log.at_end
    assert caplog.messages == [f"{folder.path}/caf\\xe9: left out, since its name is not UTF-8; rename it"]
    assert [name.encode() for name in log.positions()] == [f"{folder.path}/caf\u00e9".encode()]
    assert list(list_files(f"{folder.path}/{pattern}")) == [f"{folder.path}/caf\u00e9"]
    assert len(caplog.messages) == 2


def test_after_a_restart_the_span_is_read_again_first_and_then_what_is_new(folder: Folder) -> None:
    log = folder.log()
    for name in ("a", "b"):
        folder.write(name, b"1\n2\n3\n")
    folder.read(log)
    positions = {
        name: Position(2 if name.endswith("a") else 4, 6, each.head, 0) for name, each in log.positions().items()
    }
    folder.write("a", b"4\n", "ab")  # which makes it the younger one
    again = folder.log(positions=positions)
    assert again.rereading
    chunks = folder.read(again)
    assert [(chunk.lines, chunk.reread) for chunk in chunks] == [(b"3\n", True), (b"2\n3\n", True), (b"4\n", False)]
    assert not again.rereading and again.at_end


def test_a_covered_file_is_not_opened_again(folder: Folder) -> None:
    log = folder.log()
    path = folder.write("a", b"one\n")
    folder.read(log)
    folder.write("a", b"ONE\n")  # of the same size: opening it would tell
    again = folder.log(positions=dict(log.positions()))
    assert folder.read(again) == [] and again.files_reread == 0 and again.is_read(str(path))


def test_a_file_that_vanished_before_it_was_read_again_is_named(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    log = folder.log()
    path = folder.write("a", b"one\n")
    folder.read(log)
    path.unlink()
    again = folder.log(positions={name: Position(0, 4, each.head, 0) for name, each in log.positions().items()})
    assert folder.read(again) == [] and not again.rereading
    assert "gone" in caplog.text


def test_a_file_that_changed_while_nobody_looked_is_new(folder: Folder) -> None:
    log = folder.log()
    folder.write("a", b"one\ntwo\n")
    folder.read(log)
    folder.write("a", b"ONE\ntwo\n")
    again = folder.log(positions={name: Position(4, 8, each.head, 0) for name, each in log.positions().items()})
    chunks = folder.read(again)
    assert [(chunk.lines, chunk.reread, chunk.anew) for chunk in chunks] == [
        (b"", False, True),
        (b"ONE\ntwo\n", False, False),
    ]
    assert not again.rereading


def test_many_files_are_not_listed_more_often_than_their_listing_allows(folder: Folder) -> None:
    """A listing that takes 1 s is made every 20 s: 5% of the time."""
    folder.write("a", b"one\n")

    class SlowClock(Clock):
        def __call__(self) -> int:
            self.now_us += S // 2  # asked at the start of `next`, and after a listing
            return self.now_us

    log = FileLog(f"{folder.path}/*", SlowClock(), 1_000, HORIZON_US, 200_000)
    assert log.next() is not None
    folder.write("b", b"two\n")
    polls = 0
    while log.next() is None:
        polls += 1
    assert 15 <= polls <= 25


@given(
    texts=st.lists(st.binary(max_size=30).map(lambda text: text.replace(b"\n", b"")), min_size=1, max_size=30),
    chunk_bytes=st.integers(1, 80),
    seed=st.integers(0, 2**16),
)
def test_however_a_file_grows_its_lines_are_read_once_in_order(
    tmp_path_factory: pytest.TempPathFactory, texts: list[bytes], chunk_bytes: int, seed: int
) -> None:
    folder = Folder(tmp_path_factory.mktemp("grows"))
    data, rng = b"".join(text + b"\n" for text in texts), random.Random(seed)
    log = folder.log(chunk_bytes)
    chunks, written = [], 0
    while written < len(data):
        more = rng.randint(1, 40)
        folder.write("a", data[written : written + more], "ab")
        written += more
        chunks += folder.read(log)
        if rng.random() < 0.3:
            log = folder.log(chunk_bytes, dict(log.positions()))
    assert b"".join(chunk.lines for chunk in chunks) == data
    assert all(chunk.lines.endswith(b"\n") for chunk in chunks)
    assert [chunk.start for chunk in chunks[1:]] == [chunk.end for chunk in chunks[:-1]]
    assert log.files_reread == 0


@pytest.mark.parametrize("pattern", ["*", "**/*"])
def test_a_pipe_is_left_out_with_one_warning(folder: Folder, caplog: pytest.LogCaptureFixture, pattern: str) -> None:
    os.mkfifo(folder.path / "a_pipe")  # opening it to read would wait for a writer
    folder.write("good", b"x\n")
    log = folder.log(pattern=pattern)
    assert folder.texts(log) == [b"x\n"]
    for _ in range(5):
        assert folder.read(log) == [] and log.at_end
    said = f"{folder.path}/a_pipe: left out, since it is a pipe, a socket or a device; a log is a file"
    assert caplog.messages == [said]
    assert list(list_files(f"{folder.path}/{pattern}")) == [f"{folder.path}/good"]
