"""Compute the linear term from the users' items: EASE, or co-occurrence neighbors for a large catalogue.

A rule names the settings of a term. Validation users decide between rules, see `blend`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from pipelines.vae_train.model.linear import LinearTerm, NeighborTerm
from transforms.ranking.ease import ease_weights
from transforms.ranking.lists import best_of_row

__all__ = ["MOST_BYTES", "Ease", "Neighbors", "Rule", "nearest"]

MOST_BYTES = 400 << 20
"""Neighbors and weights take at most so many bytes, as many as EASE takes for 10,000 items."""

_NEIGHBOR_BYTES = 8
_BLOCK_ITEMS = 1_000
"""How many rows of X'X are computed at once."""


@dataclasses.dataclass(frozen=True)
class Ease:
    """The closed form of Steck 2019. Its weights are a dense matrix.

    Args:
        strength: Regularization lambda, above 0.
    """

    strength: float

    def fit(self, train: sp.csr_array) -> LinearTerm:
        """Compute the term from float32 [users, items] of 0 and 1."""
        return LinearTerm(ease_weights(train, self.strength))

    def __str__(self) -> str:
        return f"EASE with lambda {self.strength:g}"


@dataclasses.dataclass(frozen=True)
class Neighbors:
    """The degree_normalized measure of batch_cf on its nearest items: sum_u n_u^-a / (n_i^b n_j^c).

    n_u is the number of the user's items, n_i and n_j the users of the history item and of the scored item. Beyond a
    few ten thousand items EASE's dense inverse does not fit, but the neighbors do.

    Args:
        user: Exponent a of the user.
        history: Exponent b of the history item.
        candidate: Exponent c of the scored item.
        top_k: Neighbors kept per item, fewer where they would take more than MOST_BYTES. On Gowalla 500 reach 1.6% more
            ndcg@20 than 200.
    """

    user: float
    history: float
    candidate: float
    top_k: int = 500

    def fit(self, train: sp.csr_array) -> NeighborTerm:
        """Compute the term from float32 [users, items] of 0 and 1."""
        return NeighborTerm(*nearest(train, self))

    def __str__(self) -> str:
        return (
            f"at most {self.top_k} neighbors an item with exponents {self.user:g}, {self.history:g}, {self.candidate:g}"
        )


Rule = Ease | Neighbors


def nearest(train: sp.csr_array, rule: Neighbors) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Return the nearest items of every item, and their weights.

    Args:
        train: Interactions as 0 and 1, [users, items].
        rule: The measure.

    Returns:
        Item indices int32 [items, K], best first, and weights float32 [items, K]. A row with fewer neighbors is padded
        with item 0 of weight 0.
    """
    matrix = train.astype(np.float64)
    by_item = matrix.T.tocsr()
    items = matrix.shape[1]
    of_user = np.maximum(np.diff(matrix.indptr), 1).astype(np.float64)
    of_item = np.maximum(np.diff(by_item.indptr), 1).astype(np.float64)
    weighted = sp.diags_array(of_user**-rule.user) @ matrix
    width = max(1, min(rule.top_k, items - 1, MOST_BYTES // (_NEIGHBOR_BYTES * items)))
    found, weights = np.zeros((items, width), np.int32), np.zeros((items, width), np.float32)
    for start in range(0, items, _BLOCK_ITEMS):
        block = (by_item[start : start + _BLOCK_ITEMS] @ weighted).tocsr()
        for row in range(block.shape[0]):
            part, item = slice(block.indptr[row], block.indptr[row + 1]), start + row
            others, sums = block.indices[part].astype(np.int32), block.data[part]
            others, sums = others[others != item], sums[others != item]
            scores = sums / (of_item[item] ** rule.history * of_item[others] ** rule.candidate)
            best = best_of_row(others, scores, width)
            found[item, : len(best)], weights[item, : len(best)] = others[best], scores[best]
    return found, weights
