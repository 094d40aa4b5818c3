"""The Sequencer as an unbounded source: bundles, marks and retries in process, and the whole of it on Prism."""

from __future__ import annotations

import os
import pathlib
import threading
import time
from collections import Counter
from collections.abc import Iterator

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils.timestamp import MAX_TIMESTAMP

from pipelines.reward_stream.publishing.messages import decode_message
from pipelines.reward_stream.sources.reports import SourceReport
from pipelines.reward_stream.steps.read_stream import ReadStream, SequencerSource
from tests.reward_stream.reading import Logs, S, decision, lines, reward
from transforms.attribution.block import decode

Element = tuple[list[bytes], tuple[bytes, bytes] | None]


@pytest.fixture
def logs(tmp_path: pathlib.Path) -> Logs:
    return Logs(tmp_path)


def bundle(reader: object, starts: bool, steps: int = 10_000) -> list[Element]:
    """What a reader gives until it has nothing, or `steps` at most."""
    given: list[Element] = []
    while len(given) < steps and (reader.start() if starts else reader.advance()):  # type: ignore[attr-defined]
        starts = False
        given.append(reader.get_current())  # type: ignore[attr-defined]
    return given


def numbers(elements: list[Element]) -> list[int]:
    return [decode(element[0][0]).seq for element in elements]


def test_a_reader_goes_on_after_its_mark(logs: Logs) -> None:
    logs.put("decisions", lines(decision(n, n) for n in range(40)))
    source = SequencerSource(logs.config())
    coder = source.get_checkpoint_mark_coder()
    reader = source.create_reader(None, None)
    first = bundle(reader, True, steps=3)
    mark = coder.decode(coder.encode(reader.get_checkpoint_mark()))
    reader.close()
    second = bundle(source.create_reader(None, mark), True)
    assert numbers(first + second) == list(range(len(first) + len(second)))
    assert sum(len(decode(data)) for blocks, _ in first + second for data in blocks) == 40


def test_a_bundle_that_is_tried_again_gives_the_same_bytes(logs: Logs) -> None:
    logs.put("decisions", lines(decision(n, n) for n in range(40)))
    source = SequencerSource(logs.config())
    reader = source.create_reader(None, None)
    first = bundle(reader, True, steps=2)
    mark = reader.get_checkpoint_mark()
    second = bundle(reader, False, steps=3)
    logs.put("rewards", lines(reward(n, n) for n in range(40)))  # which must not mix in
    again = bundle(source.create_reader(None, mark), True, steps=3)
    assert again == second
    reader = source.create_reader(None, mark)
    assert bundle(reader, True, steps=2) == second[:2]
    later = reader.get_checkpoint_mark()  # while a step of the first try was not given again
    assert bundle(source.create_reader(None, later), True, steps=1) == second[2:]
    assert bundle(source.create_reader(None, None), True, steps=2) != []  # from the very beginning: another start
    assert numbers(first + second) == [0, 1, 2, 3, 4]


def test_a_mark_of_another_process_goes_on_with_the_next_number(logs: Logs) -> None:
    logs.put("decisions", lines(decision(n, n) for n in range(40)))
    reader = SequencerSource(logs.config()).create_reader(None, None)
    first = bundle(reader, True, steps=3)
    mark = reader.get_checkpoint_mark()
    second = bundle(SequencerSource(logs.config()).create_reader(None, mark), True)
    assert numbers(first + second) == list(range(len(first) + len(second)))
    assert sum(len(decode(data)) for blocks, _ in first + second for data in blocks) == 40


def test_an_idle_reader_keeps_its_mark(logs: Logs) -> None:
    reader = SequencerSource(logs.config(tick_us=3_600 * S)).create_reader(None, None)
    bundle(reader, True)
    mark = reader.get_checkpoint_mark().data
    assert bundle(reader, False) == []
    assert reader.get_checkpoint_mark().data is mark


def test_the_watermark_never_falls_and_ends_with_the_input(logs: Logs, tmp_path: pathlib.Path) -> None:
    logs.put("decisions", lines(decision(n, n) for n in range(40)))
    logs.put("rewards", lines(reward(n, n) for n in range(40)))
    stop = tmp_path / "stop"
    reader = SequencerSource(logs.config(stop_file=str(stop))).create_reader(None, None)
    seen = [reader.get_watermark()]
    while reader.advance():
        assert reader.get_current_timestamp() >= seen[-1]
        seen.append(reader.get_watermark())
    assert seen == sorted(seen) and len(set(seen)) > 3 and seen[-1] < MAX_TIMESTAMP
    stop.touch()
    assert reader.advance() and not reader.advance()
    assert reader.get_watermark() == MAX_TIMESTAMP


def test_the_source_is_one_and_says_that_it_has_no_end(logs: Logs) -> None:
    source = SequencerSource(logs.config())
    assert source.split(20) == [source] and not source.is_bounded()


class _Note(beam.DoFn):
    """Write what comes to a folder: Prism's workers are threads of this process, but pickled apart."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def process(self, element: tuple[int | bytes, bytes]) -> Iterator[None]:
        key, data = element
        name = f"{time.time_ns()}-{os.getpid()}-{threading.get_ident()}-{key if isinstance(key, int) else 'report'}"
        pathlib.Path(self.folder, name).write_bytes(data)
        yield from ()


@pytest.mark.needs("prism")
def test_a_stream_on_prism_reads_all_and_ends_when_it_is_idle(logs: Logs, prism: str, tmp_path: pathlib.Path) -> None:
    noted = {name: tmp_path / name for name in ("blocks", "reports")}
    for folder in noted.values():
        folder.mkdir()
    logs.put("decisions", lines(decision(n, n) for n in range(300)))
    logs.put("rewards", lines(reward(n, n) for n in range(0, 300, 3)))

    def deliver_more() -> None:
        while not any(noted["reports"].iterdir()):
            time.sleep(0.05)
        logs.put("decisions", lines(decision(n, n) for n in range(300, 400)))
        logs.put("rewards", lines(reward(n, n) for n in range(300, 400, 3)))

    deliverer = threading.Thread(target=deliver_more, daemon=True)
    deliverer.start()
    options = PipelineOptions(
        [
            "--runner=PrismRunner",
            f"--prism_location={prism}",
            "--environment_type=LOOPBACK",
            "--experiments=prism_disable_sdf_split",
            "--streaming",
        ]
    )
    with beam.Pipeline(options=options) as root:
        read = root | ReadStream(logs.config(chunk_bytes=4_000, stop_when_idle_us=2 * S))
        read.blocks | "NoteBlocks" >> beam.ParDo(_Note(str(noted["blocks"])))
        read.reports | "NoteReports" >> beam.ParDo(_Note(str(noted["reports"])))
    deliverer.join()
    blocks = [decode(path.read_bytes()) for path in noted["blocks"].iterdir()]
    reports = [decode_message(path.read_bytes()) for path in noted["reports"].iterdir()]
    assert (sum(len(block.decisions) for block in blocks), sum(len(block.rewards) for block in blocks)) == (400, 134)
    per_step = Counter(block.seq for block in blocks)
    assert sorted(per_step) == list(range(len(per_step))) and set(per_step.values()) == {2}
    ticks = sorted(report.seq for report in reports)
    assert ticks == sorted({block.seq for block in blocks if block.tick})
    last = max((report for report in reports if isinstance(report, SourceReport)), key=lambda report: report.seq)
    assert last.final and last.seq == max(per_step)
