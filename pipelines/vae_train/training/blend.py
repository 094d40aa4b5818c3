"""Choose the strength and the share of the linear term by ndcg@100 on the validation users.

For each strength, EASE is fitted to the training users' items with a weight above 0. Its scores are blended with the
model's scores exactly as in the served model. If no share of the linear term helps, the model's share is 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import tensorflow as tf

from pipelines.vae_train.model.linear import LinearTerm, blend
from pipelines.vae_train.training.heldout import HeldOut
from pipelines.vae_train.training.reading import read_users
from pipelines.vae_train.training.validation import ScoreFn, best_items, blocks, given_of, metrics_of
from transforms import progress
from transforms.ranking.ease import ease_weights

__all__ = ["SHARES", "STRENGTHS", "BlendScore", "LinearChoice", "choose_linear", "linear_weights", "read_matrix"]

STRENGTHS = (100.0, 250.0, 500.0, 1000.0, 2000.0)
"""Values of EASE's lambda to try."""
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Shares of the model's own scores to try."""
LINEAR_ITEMS = 20_000
"""A larger catalogue gets no linear term. At this size its weights take 1.6 GB, and twice that to compute."""
_K = 100


@dataclasses.dataclass(frozen=True)
class BlendScore:
    """The validation result of one blend.

    Attributes:
        strength: EASE's lambda, None for the model alone.
        share: Share of the model's scores, 1 for the model alone.
        ndcg: ndcg@100.
    """

    strength: float | None
    share: float
    ndcg: float


@dataclasses.dataclass(frozen=True)
class LinearChoice:
    """The best blend.

    Attributes:
        strength: EASE's lambda, None if the model alone is best.
        share: Share of the model's scores, 1 if the model alone is best.
        scores: All compared blends, first the model alone. Empty if nothing was compared.
    """

    strength: float | None
    share: float
    scores: tuple[BlendScore, ...]


def choose_linear(
    features_dir: str,
    heldout: HeldOut,
    vae_scores: ScoreFn,
    *,
    strengths: Sequence[float] = STRENGTHS,
    shares: Sequence[float] = SHARES,
    limit_items: int = LINEAR_ITEMS,
) -> LinearChoice:
    """Choose the strength and the share with the highest ndcg@100.

    A tie goes to the larger share, then to the first strength. Without validation users, or with more than limit_items
    items, the choice is the model alone, without a measurement. Memory holds the weights of one strength, twice while
    they are computed, and the scores of a block of users. The model scores every block once per strength.

    Args:
        features_dir: Folder of the features.
        heldout: The validation users.
        vae_scores: The model's scoring function.
        strengths: Values of EASE's lambda to try.
        shares: Shares of the model's scores to try.
        limit_items: Largest catalogue that gets a linear term.
    """
    if not len(heldout) or heldout.items > limit_items:
        return LinearChoice(None, 1.0, ())
    train = read_matrix(features_dir, heldout.items)
    mixed = sorted({share for share in shares if share < 1.0}, reverse=True)
    progress.expect("strengths tried", len(strengths))
    progress.expect("users scored", len(heldout) * (1 + len(strengths)))
    alone = _mean_ndcg(heldout, vae_scores, None, [1.0])[0]
    scores = [BlendScore(None, 1.0, alone)]
    for strength in strengths:
        linear = LinearTerm(ease_weights(train, strength))
        reached = _mean_ndcg(heldout, vae_scores, linear, mixed)
        scores += [BlendScore(strength, share, ndcg) for share, ndcg in zip(mixed, reached, strict=True)]
        del linear  # frees memory before the next strength
        progress.advance("strengths tried", 1)
    best = max(scores, key=_preference)
    return LinearChoice(best.strength, best.share, tuple(scores))


def linear_weights(
    features_dir: str, items: int, strength: float, splits: Sequence[str] = ("train",)
) -> npt.NDArray[np.float32]:
    """Compute EASE's weights from all users of the splits.

    Args:
        features_dir: Folder of the features.
        items: Size of the vocabulary.
        strength: EASE's lambda.
        splits: Names of the splits.

    Returns:
        float32 [items, items]. Rows are history items.
    """
    return ease_weights(read_matrix(features_dir, items, splits), strength)


def read_matrix(features_dir: str, items: int, splits: Sequence[str] = ("train",)) -> sp.csr_array:
    """Read the interactions of the splits as a sparse matrix.

    Args:
        features_dir: Folder of the features.
        items: Size of the vocabulary.
        splits: Names of the splits. Only the input items of held-out users count, not their targets.

    Returns:
        float32 [users, items], 1 for an interaction with a weight above 0. Users are in the order of the files.
    """
    parts = []
    for split in splits:
        users = read_users(features_dir, split)
        taken = users.weights > 0
        indptr = np.concatenate([[0], np.cumsum(taken, dtype=np.int64)])[users.items.indptr]
        ones = np.ones(int(taken.sum()), np.float32)
        parts.append(sp.csr_array((ones, users.items.items[taken], indptr), shape=(len(users), items)))
    return sp.csr_array(sp.vstack(parts))


def _preference(score: BlendScore) -> tuple[float, float]:
    return score.ndcg, score.share


def _mean_ndcg(
    heldout: HeldOut, vae_scores: ScoreFn, linear: LinearTerm | None, shares: Sequence[float]
) -> list[float]:
    """Return the mean ndcg@100 over the users for each share."""
    sums = np.zeros(len(shares))
    for block in blocks(heldout):
        given, sides = given_of(block)
        vae = vae_scores(given, sides)
        added = None if linear is None else linear.scores(given)
        for place, share in enumerate(shares):
            mixed: Any = vae if added is None else blend(vae, added, share)
            ranked = best_items(mixed, given, tf.constant(_K)).numpy()
            sums[place] += float(metrics_of(ranked, block, (_K,))[f"ndcg@{_K}"].sum())
        progress.advance("users scored", len(block))
    return [float(total) / len(heldout) for total in sums]
