"""Write every file of a run that workers write, each under a fixed name and by rename, so that a retry is harmless."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from pipelines.batch_cf import increment, neighbors_file
from pipelines.batch_cf.plan import BLOCK_ITEMS, Marginals, Plan, blocks_of
from pipelines.batch_cf.ranking import Neighbors
from pipelines.batch_cf.scoring import Measure, pair_exponent
from pipelines.batch_cf.steps.group_by_user import ShardHistories
from pipelines.batch_cf.sums import PairSums
from transforms.files import storage
from transforms.histories.shards import to_block

__all__ = ["WriteBlockFn", "WriteIncrement", "WriteItems", "WriteNeighbors"]


@dataclasses.dataclass
class WriteNeighbors(beam.PTransform[beam.PCollection[Neighbors], beam.PCollection[tuple[str, Any]]]):
    """Write Neighbors to folder/neighbors/part-*.parquet. The output is facts for `gather_facts`."""

    folder: str
    plan: beam.PCollection[Plan]

    def expand(self, neighbors: beam.PCollection[Neighbors]) -> beam.PCollection[tuple[str, Any]]:
        """Return the facts."""
        facts: beam.PCollection[tuple[str, Any]] = neighbors | "WriteBlock" >> beam.ParDo(
            WriteBlockFn(self.folder), beam.pvalue.AsSingleton(self.plan)
        )
        return facts


@dataclasses.dataclass
class WriteItems(beam.PTransform[beam.PCollection[Plan], beam.PCollection[tuple[str, Any]]]):
    """Write the plan's items to folder/items.parquet. The output is facts."""

    folder: str
    titles: pa.Table
    marginals: beam.PCollection[Marginals]

    def expand(self, plan: beam.PCollection[Plan]) -> beam.PCollection[tuple[str, Any]]:
        """Return the facts."""
        facts: beam.PCollection[tuple[str, Any]] = plan | "WriteItemTable" >> beam.FlatMap(
            _write_items, beam.pvalue.AsSingleton(self.marginals), self.titles, self.folder
        )
        return facts


@dataclasses.dataclass
class WriteIncrement(beam.PTransform[beam.PCollection[ShardHistories], None]):
    """Write what a later run builds on to folder/increment, see `increment`.

    Args:
        folder: Where the run writes.
        description: The increment's stored_by and summed_by.
    """

    folder: str
    measure: Measure
    description: dict[str, Any]
    plan: beam.PCollection[Plan]
    marginals: beam.PCollection[Marginals]
    pairs: beam.PCollection[tuple[int, PairSums]]

    def expand(self, shards: beam.PCollection[ShardHistories]) -> None:
        """Add the steps that write the increment."""
        _ = shards | "WriteShard" >> beam.Map(_write_shard, self.folder)
        _ = self.pairs | "WriteSums" >> beam.Map(_write_sums, self.folder)
        _ = self.plan | "WriteDescription" >> beam.Map(
            _write_description, beam.pvalue.AsSingleton(self.marginals), self.measure, self.description, self.folder
        )


class WriteBlockFn(beam.DoFn):
    """Write blocks on a separate thread, so that the next block is ranked meanwhile.

    A bundle ends when all its blocks are written. At most MOST_PENDING blocks wait, each of about 20 bytes a neighbor.
    """

    MOST_PENDING = 2

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def setup(self) -> None:
        """Start one thread per worker. Parquet is written in order, and one thread is as fast as the ranking."""
        self._thread = concurrent.futures.ThreadPoolExecutor(1)

    def start_bundle(self) -> None:
        """Start without pending blocks."""
        self._pending: list[concurrent.futures.Future[tuple[str, Any]]] = []

    def process(self, neighbors: Neighbors, plan: Plan) -> Iterator[tuple[str, Any]]:
        """Hand a block to the writing thread, and yield the facts of blocks that are written."""
        self._pending.append(self._thread.submit(_write_neighbors, neighbors, plan, self._folder))
        if len(self._pending) > self.MOST_PENDING:
            yield self._pending.pop(0).result()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Wait for the pending blocks. A failed write fails the bundle."""
        for written in self._pending:
            yield WindowedValue(written.result(), GlobalWindow().max_timestamp(), (GlobalWindow(),))

    def teardown(self) -> None:
        """Stop the thread."""
        self._thread.shutdown()


def _write_neighbors(neighbors: Neighbors, plan: Plan, folder: str) -> tuple[str, Any]:
    blocks = blocks_of(len(plan.items))
    name = neighbors_file.file_name(neighbors.first_row // BLOCK_ITEMS, blocks)
    with storage.write_whole(storage.join(folder, "neighbors", name)) as file:
        neighbors_file.write_table(neighbors_file.neighbors_table(neighbors, plan.items), file)
    return "neighbors", [[name, len(neighbors.neighbors), neighbors.pairs]]


def _write_items(plan: Plan, marginals: Marginals, titles: pa.Table, folder: str) -> Iterable[tuple[str, Any]]:
    place = titles["item_id"].combine_chunks() if len(titles) else pa.array([], pa.string())
    found = pc.index_in(plan.items, value_set=place)
    known = pc.take(titles["title"].combine_chunks(), found) if len(titles) else pa.nulls(len(plan.items), pa.string())
    table = neighbors_file.items_table(plan.items, plan.item_users, pc.coalesce(known, plan.items), plan.available)
    with storage.write_whole(storage.join(folder, "items.parquet")) as file:
        neighbors_file.write_table(table, file)
    yield "items", len(plan.items)
    yield "users", marginals.users
    yield "interactions", plan.interactions
    yield "pair_work", plan.pair_work


def _write_shard(shard: ShardHistories, folder: str) -> None:
    if shard.stored is None:
        return
    name = f"shard-{shard.shard:05d}.parquet"
    with storage.write_whole(storage.join(folder, increment.FOLDER, "interactions", name)) as file:
        neighbors_file.write_table(pa.Table.from_batches([to_block(shard.stored)]), file)


def _write_sums(element: tuple[int, PairSums], folder: str) -> None:
    block, part = element
    with storage.write_whole(storage.join(folder, increment.FOLDER, "sums", f"block-{block:05d}.parquet")) as file:
        neighbors_file.write_table(increment.sums_table(part), file)


def _write_description(
    plan: Plan, marginals: Marginals, measure: Measure, description: dict[str, Any], folder: str
) -> None:
    with storage.write_whole(storage.join(folder, increment.FOLDER, "items.parquet")) as file:
        neighbors_file.write_table(increment.items_table(plan), file)
    storage.write_json(
        storage.join(folder, increment.FOLDER, "increment.json"),
        description | {"exponent": pair_exponent(plan, marginals, measure)},
    )
