"""Read both sources as one unbounded source: blocks by shard and reports, in the order of the Sequencer.

There is only one reader, because the order of the input affects the result. The reader needs no acknowledgement: a mark
holds the whole state of the Sequencer, so an engine that restores a mark continues after the last committed piece.

Within a process the reader is kept between bundles, with the pieces that it returned since the previous mark. A bundle
that is tried again therefore gets the same bytes under the same numbers.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.coders import Coder
from apache_beam.io.unbounded_source import CheckpointMark, ReadFromUnboundedSource, UnboundedReader, UnboundedSource
from apache_beam.pvalue import PCollection
from apache_beam.utils.timestamp import MAX_TIMESTAMP, Timestamp

from pipelines.reward_stream import encoding
from pipelines.reward_stream.publishing.messages import keyed_message
from pipelines.reward_stream.sources.config import SequencerConfig
from pipelines.reward_stream.sources.progress import NumberedBlocks
from pipelines.reward_stream.sources.sequencer import Sequencer
from serving_client.contracts.times import wall_clock_us

__all__ = ["Read", "ReadStream", "SequencerSource"]

# A bundle's output moves on when the bundle ends; while there is a backlog that is after this time or this many pieces
# (of about 2 MiB each), whichever comes first.
_BUNDLE_S = 0.5
_BUNDLE_PIECES = 32


class Read(NamedTuple):
    """Hold encoded blocks by shard, and encoded reports for the publisher."""

    blocks: PCollection[tuple[int, bytes]]
    reports: PCollection[tuple[bytes, bytes]]


@dataclasses.dataclass
class ReadStream(beam.PTransform[Any, Read]):
    """Read the sources that the config names until the stream ends."""

    config: SequencerConfig

    def expand(self, root: Any) -> Read:
        """Read the sequence and split it into blocks and reports."""
        read = root | "ReadSequence" >> ReadFromUnboundedSource(
            SequencerSource(self.config),
            poll_interval=self.config.poll_interval_us / 1e6,
            max_records_per_bundle=_BUNDLE_PIECES,
            max_read_time_seconds=_BUNDLE_S,
        )
        return Read(
            read | "TakeBlocks" >> beam.FlatMap(_blocks).with_output_types(tuple[int, bytes]),
            read | "TakeReports" >> beam.FlatMap(_reports).with_output_types(tuple[bytes, bytes]),
        )


class _Mark(CheckpointMark):
    """Hold a mark of the Sequencer. Nothing waits for its commit."""

    def __init__(self, data: bytes) -> None:
        self.data = data


class _MarkCoder(Coder):
    """Pass the bytes of a mark unchanged, since a mark is encoded several times per bundle."""

    def encode(self, value: _Mark) -> bytes:
        return value.data

    def decode(self, encoded: bytes) -> _Mark:
        return _Mark(encoded)

    def is_deterministic(self) -> bool:
        return True


class SequencerSource(UnboundedSource):
    """Represent the whole input as one source that cannot be split."""

    def __init__(self, config: SequencerConfig) -> None:
        # Every mark travels with its source; a state that was started from may be large, and bytes pass unread.
        self._config = encoding.encode(config)
        self.token = uuid.uuid4().hex

    def split(self, desired_num_splits: int, options: Any = None) -> list[SequencerSource]:
        """Return the source itself."""
        return [self]

    def create_reader(self, options: Any, checkpoint_mark: CheckpointMark | None) -> _Reader:
        """Create a reader at a mark. Reuse the reader of this process if it can go back to the mark."""
        mark = checkpoint_mark.data if isinstance(checkpoint_mark, _Mark) else None
        live = _LIVE.get(self.token)
        if live is None or not live.rewind(mark):
            live = _LIVE[self.token] = _Live(
                Sequencer(encoding.decode(self._config, SequencerConfig), wall_clock_us, mark), mark
            )
        return _Reader(live, self.token)

    def get_checkpoint_mark_coder(self) -> Coder:
        """Return the coder of marks."""
        return _MarkCoder()


class _Live:
    """Hold a Sequencer with the pieces since its last two marks, so that these pieces can be returned again."""

    def __init__(self, sequencer: Sequencer, mark: bytes | None) -> None:
        self.sequencer = sequencer
        self._mark = mark
        self._given: list[NumberedBlocks] = []
        self._former_mark: bytes | None = None
        self._former_given: list[NumberedBlocks] | None = None
        self._again: deque[NumberedBlocks] = deque()

    def rewind(self, mark: bytes | None) -> bool:
        """Go back to a mark. Return False if it is neither of the last two marks."""
        if mark == self._mark:
            again = self._given
        elif self._former_given is not None and mark == self._former_mark:
            again = self._former_given + self._given
            self._mark, self._former_given = mark, None
        else:
            return False
        self._again.extendleft(reversed(again))
        self._given = []
        return True

    def poll(self) -> NumberedBlocks | None:
        piece = self._again.popleft() if self._again else self.sequencer.poll()
        if piece is not None:
            self._given.append(piece)
        return piece

    @property
    def ended(self) -> bool:
        return not self._again and self.sequencer.ended

    def mark(self) -> bytes:
        """Return the mark after the returned pieces. Its bytes stay the same until another piece is returned."""
        if self._given or self._mark is None:
            mark = self.sequencer.mark(self._again)
            self._former_mark, self._former_given = self._mark, self._given
            self._mark, self._given = mark, []
        return self._mark


# By the source's token. An entry goes when its source ends.
_LIVE: dict[str, _Live] = {}


class _Reader(UnboundedReader):
    def __init__(self, live: _Live, token: str) -> None:
        self._live = live
        self._token = token
        self._piece: NumberedBlocks | None = None
        self._watermark = Timestamp(micros=live.sequencer.holding_us)

    def start(self) -> bool:
        return self.advance()

    def advance(self) -> bool:
        self._piece = self._live.poll()
        if self._piece is not None:
            self._watermark = max(self._watermark, Timestamp(micros=self._piece.holding_us))
        return self._piece is not None

    def get_current(self) -> tuple[list[bytes], tuple[bytes, bytes] | None]:
        assert self._piece is not None
        report = self._piece.report
        return self._piece.blocks, None if report is None else keyed_message(report)

    def get_current_timestamp(self) -> Timestamp:
        return self._watermark

    def get_watermark(self) -> Timestamp:
        return MAX_TIMESTAMP if self._live.ended else self._watermark

    def get_checkpoint_mark(self) -> _Mark:
        mark = _Mark(self._live.mark())
        if self._live.ended:
            _LIVE.pop(self._token, None)
        return mark


def _blocks(piece: tuple[list[bytes], tuple[bytes, bytes] | None]) -> Iterator[tuple[int, bytes]]:
    return enumerate(piece[0])


def _reports(piece: tuple[list[bytes], tuple[bytes, bytes] | None]) -> Iterator[tuple[bytes, bytes]]:
    if piece[1] is not None:
        yield piece[1]
