"""Sum the metrics of blocks of users in integers, so that the order of addition cannot change the result.

Every metric lies in [0, 1]. A user's value, and the product of two models' values, is rounded to a multiple of 2^-40
and summed as a Python integer. So means, standard errors and paired differences are the same bytes for any number of
workers and any grouping of blocks. The rounding moves a mean by less than 5e-13.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from transforms.ranking.lists import Lists
from transforms.ranking.metrics import user_metrics

__all__ = ["BUCKETS", "SCALE", "Moments", "Sums", "block_sums", "bucket_of", "merge", "moments", "paired"]

SCALE = 2**40
BUCKETS = ((0, 0), (1, 4), (5, 9), (10, 19), (20, 49), (50, 99), (100, 199), (200, None))
"""User activity: first and last history length of each bucket. `summary` merges buckets with few users."""

Integers = npt.NDArray[Any]  # dtype object: Python integers, which do not overflow


@dataclasses.dataclass(frozen=True, eq=False)
class Sums:
    """Sums over users. The metrics are the columns of `metrics.user_metrics`, with values in units of 1/SCALE.

    Args:
        users: [buckets], users per activity bucket.
        values: [models, buckets, metrics].
        squares: [models, buckets, metrics].
        products: [metrics, models, models], sum over users of one model's value times another's.
        recommended: int64 [models x ks, items], lists at that cut-off that hold the item.
        foreign: [models, ks], places taken by items outside the data.
        removed: [models], places where a model returned an item of the history or a repeated item.
    """

    users: Integers
    values: Integers
    squares: Integers
    products: Integers
    recommended: sp.csr_array
    foreign: Integers
    removed: Integers

    def total_users(self) -> int:
        """Return the number of all users."""
        return int(self.users.sum())


@dataclasses.dataclass(frozen=True)
class Moments:
    """A mean over users and its standard error (sample deviation / sqrt(users); 0.0 for a single user)."""

    mean: float
    standard_error: float


def bucket_of(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the index into BUCKETS of every history length."""
    starts = np.array([first for first, _ in BUCKETS])
    return np.searchsorted(starts, lengths, side="right") - 1


def block_sums(
    ranked: Sequence[npt.NDArray[np.int32]],
    removed: Sequence[int],
    lengths: npt.NDArray[np.int64],
    targets: Lists,
    items: int,
    ks: Sequence[int],
) -> Sums:
    """Return the sums of one block of users.

    Args:
        ranked: One int32 [users, K] per model.
        removed: One count per model.
        lengths: int64 [users], history lengths.
        targets: The users' targets.
        items: Number of items.
        ks: Cut-offs of the metrics.

    Returns:
        The sums.
    """
    scores = np.stack([user_metrics(one, targets, items, ks) for one in ranked])  # [models, users, metrics]
    bucket = bucket_of(lengths)
    member = np.zeros((len(BUCKETS), len(lengths)), np.int64)
    member[bucket, np.arange(len(lengths))] = 1
    # A block's sum stays below 2^63 up to 2^23 users; Python integers take over when blocks are merged.
    values = np.einsum("bu,mux->mbx", member, _fixed(scores))
    squares = np.einsum("bu,mux->mbx", member, _fixed(scores * scores))
    models = len(ranked)
    products = np.empty((scores.shape[2], models, models), np.int64)
    for a in range(models):
        for b in range(a, models):
            products[:, a, b] = products[:, b, a] = _fixed(scores[a] * scores[b]).sum(axis=0)
    shown = [one[:, :k] for one in ranked for k in ks]
    counts = sp.vstack([_counts(one, items) for one in shown], format="csr")
    foreign = np.array([int((one < -1).sum()) for one in shown], np.int64).reshape(models, len(ks))
    return Sums(
        member.sum(axis=1).astype(object),
        values.astype(object),
        squares.astype(object),
        products.astype(object),
        counts,
        foreign.astype(object),
        np.array(removed, np.int64).astype(object),
    )


def merge(parts: Iterable[Sums]) -> Sums:
    """Merge the sums of at least one block. The inputs are not changed."""
    return functools.reduce(_add, parts)


def moments(total: int, squares: int, users: int) -> Moments:
    """Return mean and standard error from a sum and a sum of squares in units of 1/SCALE."""
    if users == 0:
        return Moments(float("nan"), float("nan"))
    mean = total / (SCALE * users)
    if users == 1:
        return Moments(mean, 0.0)
    # The numbers are integers until the one division, so a small deviation does not cancel out.
    deviation = max(0, squares * users * SCALE - total * total) / (SCALE * SCALE * users * (users - 1))
    return Moments(mean, float((deviation / users) ** 0.5))


def paired(sums: Sums, a: int, b: int, column: int) -> Moments:
    """Return the mean over users of (model a's value - model b's value) and its standard error."""
    products = sums.products[column]
    total = int(sums.values[a, :, column].sum() - sums.values[b, :, column].sum())
    squares = int(products[a, a] + products[b, b] - 2 * products[a, b])
    return moments(total, squares, sums.total_users())


def _fixed(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    return np.rint(values * SCALE).astype(np.int64)


def _counts(ranked: npt.NDArray[np.int32], items: int) -> sp.csr_array:
    found, counts = np.unique(ranked[ranked >= 0], return_counts=True)
    row = np.zeros(len(found), np.int32)
    return sp.csr_array((counts.astype(np.int64), (row, found)), shape=(1, items))


def _add(left: Sums, right: Sums) -> Sums:
    fields = [field.name for field in dataclasses.fields(Sums)]
    return Sums(**{name: getattr(left, name) + getattr(right, name) for name in fields})
