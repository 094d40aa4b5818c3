"""Solve EASE from the final pair sums, and keep the neighbors of largest absolute weight.

EASE is a linear model of all items at once (Steck 2019), so its weights are no function of a pair's sums. The sums of
all pairs, with the marginals on the diagonal, are the Gram matrix that the closed form inverts. A weight may be
negative: the neighbor then speaks against the candidate. So a row keeps its K largest |w| and is ranked by w.

Floating-point solvers differ in the last bits between processors. Weights are rounded to WEIGHT_UNIT before they are
ranked, which leaves the same neighbors up to ties.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import threadpoolctl

from pipelines.batch_cf.plan import block_bounds, blocks_of
from pipelines.batch_cf.ranking import Neighbors, Scoring, pair_values
from pipelines.batch_cf.sums import PairSums
from transforms.ranking.ease import DOUBLE_ITEMS, ease_of_gram

__all__ = ["MOST_ITEMS", "WEIGHT_UNIT", "ease_neighbors", "too_many_items"]

MOST_ITEMS = DOUBLE_ITEMS
"""Most items that EASE takes: float64 matrices of 800 MB, of which three exist at once, and minutes on one thread."""
WEIGHT_UNIT = 2.0**-20


def too_many_items(items: int) -> str | None:
    """Return why EASE cannot be computed for so many items, None if it can."""
    if items <= MOST_ITEMS:
        return None
    return (
        f"--similarity=ease takes at most {MOST_ITEMS:,} items, and the log has {items:,}; raise --min_item_users, or "
        "use --similarity=degree_normalized"
    )


def ease_neighbors(parts: Iterable[PairSums], scoring: Scoring) -> Iterator[Neighbors]:
    """Yield the neighbors of all items by block.

    Args:
        parts: The final sums of all pairs, in any order of the rows.
        scoring: The marginals, the units of the sums, and the parameter l2.

    Yields:
        The neighbors of each block. `cooccurrence` is 0 where no user has both items.
    """
    parts = sorted(parts, key=_first_row)
    weights = _weights(parts, scoring)
    items = len(weights)
    counts = np.zeros(items, np.int64)
    places = {part.first_row + row: (part, row) for part in parts for row in range(len(part.row_ends))}
    for block in range(blocks_of(items)):
        start, stop = block_bounds(block, items)
        rows = []
        for item in range(start, stop):
            found = _best(weights[item], scoring)
            if item in places:
                part, row = places[item]
                pairs = slice(int(part.row_ends[row - 1]) if row else 0, int(part.row_ends[row]))
                counts[part.columns[pairs]] = part.counts[pairs]
                rows.append((found, counts[found]))
                counts[part.columns[pairs]] = 0
            else:
                rows.append((found, counts[found]))
        columns = np.concatenate([found for found, _ in rows])
        lengths = np.array([len(found) for found, _ in rows], np.int64)
        scores = weights[np.repeat(np.arange(start, stop), lengths), columns].astype(np.float32)
        shared = np.concatenate([users for _, users in rows])
        yield Neighbors(start, lengths, columns.astype(np.uint32), scores, shared, (stop - start) * (items - 1))


def _weights(parts: Iterable[PairSums], scoring: Scoring) -> npt.NDArray[np.float64]:
    """Return the rounded weights, float64 [items, items]."""
    items = len(scoring.marginals)
    gram = np.zeros((items, items))
    gram[np.arange(items), np.arange(items)] = scoring.marginals
    for part in parts:
        rows = np.repeat(np.arange(len(part.row_ends)) + part.first_row, np.diff(part.row_ends, prepend=0))
        gram[rows, part.columns] = pair_values(part, scoring)
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        weights = ease_of_gram(gram, scoring.parameters.l2).astype(np.float64, copy=False)
    weights /= WEIGHT_UNIT
    np.rint(weights, out=weights)
    weights *= WEIGHT_UNIT
    weights += 0.0  # -0.0 becomes 0.0
    return weights


def _best(row: npt.NDArray[np.float64], scoring: Scoring) -> npt.NDArray[np.int64]:
    """Return the eligible columns with the K largest |w| other than 0, by weight, then by item index."""
    columns = np.flatnonzero((row != 0) & scoring.eligible)
    if len(columns) > scoring.top_k:
        by_size = np.argsort(-np.abs(row[columns]), kind="stable")
        columns = columns[by_size[: scoring.top_k]]
    kept: npt.NDArray[np.int64] = columns[np.lexsort((columns, -row[columns]))]
    return kept


def _first_row(part: PairSums) -> int:
    return part.first_row
