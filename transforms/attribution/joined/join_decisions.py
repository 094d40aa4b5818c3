"""Join decision and reward logs in a batch pipeline: one block of joined decisions per shard.

    files ─> ranges ─> blocks by shard ─> GroupByKey ─> joined decisions

A shard takes about `shard_bytes` of the logs, so a worker's memory does not depend on their size. Records that
reward_stream would call late count, as in its bounded run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import PCollection, TaggedOutput

from serving_client.bandits_file import parse_bytes
from transforms.attribution.joined.join import JoinedDecisions, join_blocks
from transforms.attribution.joined.log_blocks import LogBlock, read_range
from transforms.attribution.parsing.file_ranges import FileRange, ranges_of
from transforms.attribution.rules import Rules
from transforms.dead_letters import DeadLetter
from transforms.errors import BadInput

__all__ = ["JoinDecisions", "JoinShardFn", "Joined", "ReadRangeFn", "check_join"]

SHARD_BYTES = 16 << 20
"""Log bytes per shard. 29,000 decisions of 530 bytes, for example, become a block of 7 MiB."""


class Joined(NamedTuple):
    """What JoinDecisions returns.

    Args:
        blocks: The joined decisions with the number of their shard. A shard without decisions may be missing.
        rejected: Malformed and future lines.
        facts: Counts by name, and faults, for `transforms.runs.facts.WriteFacts` and `check_join`.
    """

    blocks: PCollection[tuple[int, JoinedDecisions]]
    rejected: PCollection[DeadLetter]
    facts: PCollection[dict[str, Any]]


@dataclasses.dataclass
class JoinDecisions(beam.PTransform[Any, Joined]):
    """Read the logs and join each decision with its rewards.

    Args:
        bandits: Bytes of the bandits file, which has the attribution rules.
        decisions: Sizes of the decision files in bytes, by name.
        rewards: Sizes of the reward files in bytes, by name.
        now_us: The clock, microseconds. It tells what is future where a record has no received_at.
        shard_bytes: Log bytes per shard.
    """

    bandits: bytes
    decisions: Mapping[str, int]
    rewards: Mapping[str, int]
    now_us: int
    shard_bytes: int = SHARD_BYTES

    def expand(self, root: Any) -> Joined:
        """Apply the join to a pipeline."""
        log_bytes = sum(self.decisions.values()) + sum(self.rewards.values())
        shards = max(1, -(-log_bytes // self.shard_bytes))
        listed = ranges_of("decisions", self.decisions) + ranges_of("rewards", self.rewards)
        ranges = root | "ListRanges" >> beam.Create(listed, reshuffle=True)
        read = ranges | "ReadRange" >> beam.ParDo(ReadRangeFn(self.bandits, shards, self.now_us)).with_outputs(
            "rejected", "facts", main="blocks"
        )
        grouped = read.blocks | "GroupByShard" >> beam.GroupByKey()
        joined = grouped | "JoinShard" >> beam.ParDo(JoinShardFn(self.bandits)).with_outputs("facts", main="blocks")
        facts = (read.facts, joined.facts) | "FlattenFacts" >> beam.Flatten()
        return Joined(joined.blocks, read.rejected, facts)


class ReadRangeFn(beam.DoFn):
    """Turn a range into blocks by shard. A file that cannot be read becomes a fault among the facts."""

    def __init__(self, bandits: bytes, shards: int, now_us: int) -> None:
        self._bandits = bandits
        self._shards = shards
        self._now_us = now_us

    def process(self, part: FileRange) -> Iterator[tuple[int, tuple[bytes, bytes]] | TaggedOutput[str, Any]]:
        """Yield the blocks of a range, its rejected lines and its counts."""
        try:
            read = read_range(part, _rules(self._bandits), self._shards, self._now_us)
        except BadInput as error:
            yield TaggedOutput("facts", {"faults": [str(error)]})
            return
        for shard, block in read.blocks.items():
            yield shard, (block.block, block.details)
        for letter in read.rejected:
            yield TaggedOutput("rejected", letter)
        yield TaggedOutput("facts", dict(read.counts))


class JoinShardFn(beam.DoFn):
    """Join the blocks of one shard."""

    def __init__(self, bandits: bytes) -> None:
        self._bandits = bandits

    def process(
        self, keyed: tuple[int, Iterable[tuple[bytes, bytes]]]
    ) -> Iterator[tuple[int, JoinedDecisions] | TaggedOutput[str, Any]]:
        """Yield the joined decisions of a shard and its counts."""
        shard, parts = keyed
        joined, counts = join_blocks((LogBlock(*part) for part in parts), _rules(self._bandits))
        if len(joined.decisions):
            yield shard, joined
        yield TaggedOutput("facts", dict(counts))


def check_join(facts: Mapping[str, Any], max_bad_fraction: float, dead_letters: str) -> None:
    """Check what the workers reported.

    Args:
        facts: The joined facts.
        max_bad_fraction: Largest share of malformed lines.
        dead_letters: Folder of the dead letters, for the message.

    Raises:
        BadInput: A file cannot be read, the logs are empty, or too many lines are malformed.
    """
    if facts.get("faults"):
        raise BadInput(facts["faults"][0])
    lines, malformed = facts.get("records_read", 0), facts.get("malformed", 0)
    if not lines:
        raise BadInput("--decisions and --rewards: the files hold no records; check the patterns")
    if malformed > max_bad_fraction * lines:
        raise BadInput(
            f"{malformed:,} of {lines:,} lines are malformed, more than --max_bad_fraction={max_bad_fraction:g}; "
            f"correct them (see {dead_letters}) or raise the limit"
        )


def _rules(bandits: bytes) -> Rules:
    return Rules(parse_bytes(bandits, "bandits file"))
