"""Generate a seeded interaction log of any size with the shape of a large platform's log.

Histories and popularity are log-normal. Per 6,500,000 rows there are 130,000 users and 100,000 items. The mean history
has 50 items, sigma of the log length is 1.193, and sigma of the log popularity is 1.5. The sum of squared history
lengths is 1.35 G, since E[L^2] / E[L] = mean x exp(sigma^2) = 207.6. The number of users grows with the rows, and the
number of items does not, so the number of multiply-adds is proportional to the rows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.special import ndtri

from benchmarks.cf.inputs import WRITE_ROWS

__all__ = ["ITEMS", "history_lengths", "write"]

ITEMS = 100_000
MEAN_LENGTH = 50.0
SIGMA_LENGTH = 1.193
SIGMA_POPULARITY = 1.5

USERS_AT_A_TIME = 65_536


def history_lengths(rows: int, items: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Distinct items of each user, int64 [users], 1 to items / 4, in random order.

    The lengths are the quantiles of the distribution and not draws from it: the sum of squares of so heavy a tail
    would otherwise vary by several percent from seed to seed. Rounding and the bounds move the sum of rows slightly.
    """
    users = max(1, round(rows / MEAN_LENGTH))
    quantiles = (np.arange(users) + 0.5) / users
    mu = np.log(MEAN_LENGTH) - SIGMA_LENGTH**2 / 2
    lengths = np.exp(mu + SIGMA_LENGTH * ndtri(quantiles))
    return rng.permutation(np.clip(np.rint(lengths), 1, max(1, items // 4)).astype(np.int64))


def write(path: Path, rows: int, items: int, seed: int) -> None:
    """Write columns user and item (int32), by user, as Parquet; the bytes depend on rows, items and seed alone."""
    rng = np.random.default_rng(seed)
    lengths = history_lengths(rows, items, rng)
    popularity = np.exp(SIGMA_POPULARITY * rng.standard_normal(items))
    edges = np.cumsum(popularity / popularity.sum())
    schema = pa.schema({"user": pa.int32(), "item": pa.int32()})
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, len(lengths), USERS_AT_A_TIME):
            users, chosen = _choose(lengths[first : first + USERS_AT_A_TIME], edges, rng)
            table = pa.table({"user": users + np.int32(first), "item": chosen}, schema=schema)
            writer.write_table(table, row_group_size=WRITE_ROWS)


def _choose(
    lengths: npt.NDArray[np.int64], edges: npt.NDArray[np.float64], rng: np.random.Generator
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Items by popularity without repetition: draw what is missing, forget repetitions, until nothing is missing."""
    items = len(edges)
    codes = np.empty(0, np.int64)
    missing = lengths
    while missing.any():
        users = np.repeat(np.arange(len(lengths)), missing)
        drawn = np.minimum(np.searchsorted(edges, rng.random(len(users))), items - 1)
        codes = np.unique(np.concatenate([codes, users * items + drawn]))
        missing = lengths - np.bincount(codes // items, minlength=len(lengths))
    chosen = np.divmod(codes, items)
    return chosen[0].astype(np.int32), chosen[1].astype(np.int32)
