"""Join the blocks of a shard and emit, tick by tick, what its rows gained.

The open records are held in memory, and their log is held in state. The memory is a cache. The log contains the blocks
that can still matter. Blocks are appended and never rewritten. State also holds a small record of the shard's place,
and the carry: what the log could not restore at the last tick. A worker without a cache rebuilds it by folding the log
again.

Each write of the record raises a version that is also stored in the cache. A runner may hand out old state: Prism does
so unless it is told not to split bundles. The version reveals this at the next block, before sums are corrupted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
from apache_beam.coders import BytesCoder
from apache_beam.pvalue import PCollection
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import BagStateSpec, ReadModifyWriteStateSpec, TimerSpec, on_timer
from apache_beam.transforms.window import GlobalWindow

from pipelines.reward_stream.metrics import RewardStreamMetrics
from pipelines.reward_stream.publishing.messages import keyed_message
from pipelines.reward_stream.steps.shard_place import (
    BAGS,
    ShardPlace,
    decode_carry,
    decode_place,
    encode_carry,
    encode_place,
)
from serving_client.bandits_file import parse_bytes
from serving_client.contracts.times import BEFORE_ALL_US
from transforms.attribution import block as blocks
from transforms.attribution.block import Block
from transforms.attribution.joining.fold import Shard, advance, finish, fold
from transforms.attribution.rules import Rules

__all__ = ["JoinShardFn", "JoinShards"]


@dataclasses.dataclass
class JoinShards(beam.PTransform[PCollection[tuple[int, bytes]], PCollection[tuple[bytes, bytes]]]):
    """Turn encoded blocks by shard into encoded results.

    Args:
        bandits: Bytes of the bandits file. A block can bring a new version.
    """

    bandits: bytes

    def expand(self, keyed: PCollection[tuple[int, bytes]]) -> PCollection[tuple[bytes, bytes]]:
        """Apply the join to keyed blocks."""
        results: PCollection[tuple[bytes, bytes]] = keyed | "JoinShard" >> beam.ParDo(
            JoinShardFn(self.bandits)
        ).with_output_types(tuple[bytes, bytes])
        return results


@dataclasses.dataclass(slots=True)
class _Cached:
    """Hold the cache of one shard. `early` holds blocks that arrived before their predecessors, by number."""

    place: ShardPlace
    held: Shard
    rules: Rules
    early: dict[int, Block] = dataclasses.field(default_factory=dict)


class JoinShardFn(beam.DoFn):
    """Fold the blocks of one shard of decision ids in order, and answer ticks."""

    PLACE = ReadModifyWriteStateSpec("place", BytesCoder())
    CARRY = ReadModifyWriteStateSpec("carry", BytesCoder())
    LOGS = tuple(BagStateSpec(f"log_{number}", BytesCoder()) for number in range(BAGS))
    END = TimerSpec("end", TimeDomain.WATERMARK)

    def __init__(self, bandits: bytes) -> None:
        self._bandits = bandits
        self._shards: dict[int, _Cached] = {}

    def setup(self) -> None:
        """Start with empty caches."""
        self._metrics = RewardStreamMetrics()
        self._shards = {}

    def process(
        self,
        keyed: tuple[int, bytes],
        place: Any = beam.DoFn.StateParam(PLACE),
        carry: Any = beam.DoFn.StateParam(CARRY),
        log_0: Any = beam.DoFn.StateParam(LOGS[0]),
        log_1: Any = beam.DoFn.StateParam(LOGS[1]),
        log_2: Any = beam.DoFn.StateParam(LOGS[2]),
        log_3: Any = beam.DoFn.StateParam(LOGS[3]),
        log_4: Any = beam.DoFn.StateParam(LOGS[4]),
        log_5: Any = beam.DoFn.StateParam(LOGS[5]),
        log_6: Any = beam.DoFn.StateParam(LOGS[6]),
        log_7: Any = beam.DoFn.StateParam(LOGS[7]),
        end: Any = beam.DoFn.TimerParam(END),
    ) -> Iterator[tuple[bytes, bytes]]:
        """Fold a block and yield the results of the ticks that are complete with it."""
        key, data = keyed
        logs = (log_0, log_1, log_2, log_3, log_4, log_5, log_6, log_7)
        shard = self._open(key, place.read(), carry, logs)
        block = blocks.decode(data)
        if block.seq >= 0 and (block.seq < shard.place.next_seq or block.seq in shard.early):
            self._metrics.sequence_repeats.inc()
            return
        if block.seq < 0:  # bounded input comes in any order and ends with the timer
            self._fold_and_log(shard, block, data, logs)
            end.set(GlobalWindow().max_timestamp())
        elif block.seq > shard.place.next_seq:
            shard.early[block.seq] = block
            _log(
                shard.place, data, max(block.greatest_us, block.holding_us), logs
            )  # needed even if it only holds a tick
        else:
            self._fold_and_log(shard, block, data, logs)
            shard.place.next_seq += 1
            yield from self._answer(key, shard, block, carry, logs)
            while (following := shard.early.pop(shard.place.next_seq, None)) is not None:
                self._fold(shard, following)
                shard.place.next_seq += 1
                yield from self._answer(key, shard, following, carry, logs)
        shard.place.version += 1
        place.write(encode_place(shard.place))

    @on_timer(END)
    def end(
        self,
        key: Any = beam.DoFn.KeyParam,
        place: Any = beam.DoFn.StateParam(PLACE),
        carry: Any = beam.DoFn.StateParam(CARRY),
        log: Any = beam.DoFn.StateParam(LOGS[0]),
    ) -> Iterator[tuple[bytes, bytes]]:
        """Mature all decisions once the bounded input has been read. Without ticks its log is in the first bag."""
        shard = self._open(key, place.read(), carry, (log,))
        yield keyed_message(dataclasses.replace(finish(shard.held, shard.rules), shard=key))
        log.clear()
        place.clear()
        del self._shards[key]

    def _fold_and_log(self, shard: _Cached, block: Block, data: bytes, logs: tuple[Any, ...]) -> None:
        """Fold a block and log it without the originals that nothing needs.

        Folding the logged block again has the same effect.
        """
        needed = self._fold(shard, block)
        if len(block) or block.rules is not None:
            kept = data if needed.all() else blocks.encode(blocks.without_originals(block, needed))
            _log(shard.place, kept, block.greatest_us, logs)

    def _fold(self, shard: _Cached, block: Block) -> npt.NDArray[np.bool_]:
        if block.rules is not None:
            shard.place.bandits = block.rules
            shard.rules = _rules(block.rules)
        return fold(shard.held, block, shard.rules)

    def _answer(
        self, key: int, shard: _Cached, block: Block, carry: Any, logs: tuple[Any, ...]
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the result of a tick, then clear the part of the log that nothing needs any more."""
        if not block.tick:
            return
        place = shard.place
        place.tick_seq, place.holding_us, place.maturing_us = block.seq, block.holding_us, block.maturing_us
        place.tick_bandits = place.bandits
        result = advance(shard.held, block.holding_us, block.maturing_us, shard.rules)
        yield keyed_message(dataclasses.replace(result, shard=key, seq=block.seq, stop=block.stop))
        if block.final:
            last = finish(shard.held, shard.rules)
            yield keyed_message(dataclasses.replace(last, shard=key, seq=block.seq))
        carry.write(encode_carry(shard.held.records.carry()))
        needed_us = block.holding_us - shard.rules.span_us - shard.rules.reach_us
        held_us = block.holding_us - needed_us
        following = (place.bag + 1) % BAGS
        if block.holding_us - place.opened_us >= held_us / (BAGS - 1) and place.newest_us[following] < needed_us:
            logs[following].clear()
            place.bag, place.newest_us[following], place.opened_us = following, BEFORE_ALL_US, block.holding_us

    def _open(self, key: int, written: bytes | None, carry: Any, logs: tuple[Any, ...]) -> _Cached:
        """Return the shard's cache. Rebuild it from the log if it is missing."""
        place = ShardPlace(self._bandits, self._bandits) if written is None else decode_place(written)
        shard = self._shards.get(key)
        if shard is not None:
            if shard.place.version == place.version:
                return shard
            if shard.place.version > place.version:
                del self._shards[key]  # an engine that restored an older state goes on from it at the next try
                raise RuntimeError(
                    f"shard {key}: the runner gave back state of block {place.next_seq} after block "
                    f"{shard.place.next_seq}; on Prism pass --experiments=prism_disable_sdf_split"
                )
        shard = _fresh(place)
        if written is not None:
            self._metrics.state_rebuilds.inc()
            carried = carry.read()
            _replay(
                shard,
                None if carried is None else decode_carry(carried),
                (blocks.decode(data) for log in logs for data in log.read()),
            )
        self._shards[key] = shard
        return shard


def _log(place: ShardPlace, data: bytes, needed_us: int, logs: tuple[Any, ...]) -> None:
    """Append to the current bag, which is kept while records of `needed_us` can matter."""
    logs[place.bag].add(data)
    place.newest_us[place.bag] = max(place.newest_us[place.bag], needed_us)


def _replay(shard: _Cached, carry: dict[str, Any] | None, logged: Iterable[Block]) -> None:
    """Fold the log again: the blocks up to the last tick, the tick and its carry, then the later blocks."""
    place = shard.place
    ordered = sorted(logged, key=_seq)
    if carry is not None:
        shard.held.records.table.recall(carry["outliving"])
    for block in ordered:
        if 0 <= block.seq <= place.tick_seq:
            fold(shard.held, block, shard.rules)
    if place.tick_seq >= 0:
        advance(shard.held, place.holding_us, place.maturing_us, shard.rules)
        if carry is not None:
            shard.held.records.restore(carry)
    for block in ordered:
        if place.tick_seq < block.seq < place.next_seq or block.seq < 0:
            if block.rules is not None:
                shard.rules = _rules(block.rules)
            fold(shard.held, block, shard.rules)
        elif block.seq >= place.next_seq:
            shard.early[block.seq] = block


def _fresh(place: ShardPlace) -> _Cached:
    rules = _rules(place.tick_bandits)
    return _Cached(place, Shard.empty(rules), rules)


def _seq(block: Block) -> int:
    return block.seq


def _rules(bandits: bytes) -> Rules:
    return Rules(parse_bytes(bandits, "bandits file"))
