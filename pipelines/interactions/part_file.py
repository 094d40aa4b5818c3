"""Write the interactions of one shard as a Parquet file with the same bytes in every run.

Files: FOLDER/interactions/part-00003.parquet with the columns user_id and item_id (string), weight (double), and
timestamp (microseconds, UTC). A shard without interactions writes no file.
"""

from __future__ import annotations

from collections.abc import Collection

import pyarrow.parquet as pq

from pipelines.interactions.rows import rows_of
from transforms.attribution.joined.join import JoinedDecisions
from transforms.files import storage

__all__ = ["write_part"]

ROW_GROUP_ROWS = 1_000_000


def write_part(keyed: tuple[int, JoinedDecisions], kinds: Collection[str], folder: str) -> dict[str, int]:
    """Write the interactions of a shard.

    Args:
        keyed: Number of the shard, and its decisions with their rewards.
        kinds: Kinds of rewards that are interactions.
        folder: Where the run writes.

    Returns:
        The counts of `rows_of`.
    """
    shard, joined = keyed
    table, counts = rows_of(joined, kinds)
    if table.num_rows:
        with storage.write_whole(f"{folder}/interactions/part-{shard:05d}.parquet") as file:
            pq.write_table(
                table.combine_chunks(), file, row_group_size=ROW_GROUP_ROWS, compression="zstd", version="2.6"
            )
    return dict(counts)
