"""Add up users over all blocks of joined decisions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from pipelines.experiment.user_sums import UserSums, divide, totals_of, user_sums
from serving_client.bandits_file import parse_bytes
from transforms.attribution.joined.join import JoinedDecisions

__all__ = ["SumUsers"]


@dataclasses.dataclass
class SumUsers(beam.PTransform[Any, Any]):
    """Joined decisions to the totals of users, one fact per bucket of users (see `user_sums.UserTotals.to_fact`).

    Args:
        bandits: Bytes of the bandits file.
        bandit_id: The bandit.
        names: Names of the groups.
        buckets: Number of buckets. Equal numbers give equal totals to the bit.
    """

    bandits: bytes
    bandit_id: str
    names: Sequence[str]
    buckets: int

    def expand(self, blocks: PCollection[tuple[int, JoinedDecisions]]) -> PCollection[dict[str, Any]]:
        """Apply the sums to a pipeline."""
        parts = blocks | "SumBlock" >> beam.FlatMap(
            _sum_block, self.bandits, self.bandit_id, list(self.names), self.buckets
        )
        grouped = parts | "GroupByBucket" >> beam.GroupByKey()
        totals: PCollection[dict[str, Any]] = grouped | "AddUsers" >> beam.Map(_add_users)
        return totals


def _sum_block(
    keyed: tuple[int, JoinedDecisions], bandits: bytes, bandit_id: str, names: Sequence[str], buckets: int
) -> Iterator[tuple[int, UserSums]]:
    """Yield the users of a block by bucket."""
    users = user_sums(keyed[1].decisions, parse_bytes(bandits, "bandits file").bandits[bandit_id], names)
    if users is not None:
        yield from divide(users, buckets).items()


def _add_users(keyed: tuple[int, Iterable[UserSums]]) -> dict[str, Any]:
    """Return the totals of a bucket as a fact."""
    bucket, parts = keyed
    return {"buckets": [[bucket, totals_of(parts).to_fact()]]}
