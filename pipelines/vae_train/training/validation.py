"""Measure how well a model ranks the targets of held-out users: NDCG and recall over the full catalogue.

A user's input items are masked with -inf and never ranked. The denominators are those of transforms.ranking.metrics.
Targets outside the vocabulary count in the ideal ranking, and no ranking contains them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pipelines.vae_train.training.heldout import HeldOut
from transforms.ranking.lists import EMPTY
from transforms.ranking.metrics import columns, user_metrics

__all__ = ["KS", "ScoreFn", "best_items", "block_users", "blocks", "evaluate", "given_of", "metrics_of"]

ScoreFn = Callable[[Any, Mapping[str, Any]], Any]
"""Maps histories (RaggedTensor int64 [b, (n)]) and their side columns to scores of all items, float32 [b, items]."""

KS = (20, 50, 100)
_SCORE_BYTES = 128 << 20
"""Bytes of the scores of a block. With the copies for ranking, a block takes about 400 MB."""
_MOST_USERS = 1_000


def evaluate(
    score: ScoreFn,
    heldout: HeldOut,
    ks: Sequence[int] = KS,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Compute the mean ndcg@k and recall@k over the users.

    Users are scored in blocks. The size of a block does not change the result.

    Args:
        score: Scoring function of the model.
        heldout: The users.
        ks: Cutoffs.
        progress: Called after every block with the number of scored users and of all users.

    Returns:
        `ndcg@K` and `recall@K` for every cutoff. Recall divides by min(k, number of targets). Empty without users.
    """
    if not len(heldout):
        return {}
    sums = {f"{metric}@{k}": 0.0 for metric in ("ndcg", "recall") for k in ks}
    done = 0
    for block in blocks(heldout):
        given, sides = given_of(block)
        ranked = best_items(score(given, sides), given, max(ks)).numpy()
        for name, values in metrics_of(ranked, block, ks).items():
            sums[name] += float(values.sum())
        done += len(block)
        if progress is not None:
            progress(done, len(heldout))
    return {name: total / len(heldout) for name, total in sums.items()}


def blocks(heldout: HeldOut) -> Iterator[HeldOut]:
    """Yield the users in blocks whose scores fit in memory."""
    step = block_users(heldout.items)
    for start in range(0, len(heldout), step):
        yield heldout.part(start, min(start + step, len(heldout)))


def block_users(items: int) -> int:
    """Return how many users to score at once."""
    return max(1, min(_MOST_USERS, _SCORE_BYTES // (4 * items)))


def given_of(heldout: HeldOut) -> tuple[Any, dict[str, Any]]:
    """Return the input histories and their side columns as ragged int64 tensors."""
    splits = tf.constant(heldout.given.indptr)
    given = tf.RaggedTensor.from_row_splits(tf.constant(heldout.given.items, tf.int64), splits, validate=False)
    return given, {name: given.with_values(tf.constant(side, tf.int64)) for name, side in heldout.sides.items()}


@tf.function(
    input_signature=[
        tf.TensorSpec([None, None], tf.float32),
        tf.RaggedTensorSpec([None, None], tf.int64, 1, tf.int64),
        tf.TensorSpec([], tf.int32),
    ]
)  # type: ignore[untyped-decorator]
def best_items(scores: Any, given: Any, k: Any) -> Any:
    """Rank the k best items of each user, without the input items.

    Ties are ranked by item index. An item whose score is NaN is not ranked.

    Args:
        scores: float32 [b, items].
        given: Input items, RaggedTensor int64 [b, (n)].
        k: Number of items, int32 scalar.

    Returns:
        int32 [b, k], padded with EMPTY.
    """
    least = tf.constant(-np.inf, tf.float32)
    places = tf.stack([given.value_rowids(), given.values], axis=1)
    scores = tf.where(tf.math.is_nan(scores), least, scores)
    scores = tf.tensor_scatter_nd_update(scores, places, tf.fill(tf.shape(given.values), least))
    kept = tf.minimum(k, tf.shape(scores)[1])
    values, items = tf.math.top_k(scores, kept)
    ranked = tf.where(values > least, items, EMPTY)
    return tf.pad(ranked, [[0, 0], [0, k - kept]], constant_values=EMPTY)


def metrics_of(
    ranked: npt.NDArray[np.int32], heldout: HeldOut, ks: Sequence[int] = KS
) -> dict[str, npt.NDArray[np.float64]]:
    """Compute ndcg@k and recall@k of each user.

    Args:
        ranked: Ranked item indices int32 [users, max(ks)].
        heldout: The users.
        ks: Cutoffs.

    Returns:
        float64 [users] per metric.
    """
    found = user_metrics(ranked, heldout.targets, heldout.numbers, ks)
    names = columns(ks)
    return {f"{metric}@{k}": found[:, names.index(f"{metric}@{k}")] for metric in ("ndcg", "recall") for k in ks}
