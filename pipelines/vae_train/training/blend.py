"""Does a linear term help the model, how strong, and in which share? Chosen on validation users by ndcg@100.

EASE is fitted for each strength to the items that training users took (weight above 0) and blended with the model's
scores exactly as the served model does it. Where no share of it helps, the model's own share is 1.
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
"""Past this many items there is no linear term: its weights take 1.6 GB at this size, twice that to compute."""
_K = 100


@dataclasses.dataclass(frozen=True)
class BlendScore:
    """What a blend reached on validation. strength: None for the model alone (share 1)."""

    strength: float | None
    share: float
    ndcg: float


@dataclasses.dataclass(frozen=True)
class LinearChoice:
    """The best blend. strength: lambda of EASE, None where there is none; share: the model's, 1 where there is none.

    scores: all that were compared, the model alone first; empty where nothing was.
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
    """The strength and share with the highest ndcg@100; of equal ones the larger share, then the first strength.

    heldout: the validation users; vae_scores: the model's scores of their histories. Without users, or past
    limit_items items, the model alone, unmeasured. Memory: the weights of one strength, twice while they are computed,
    and the scores of a block of users; the model scores every block once per strength.
    """
    if not len(heldout) or heldout.items > limit_items:
        return LinearChoice(None, 1.0, ())
    train = read_matrix(features_dir, heldout.items)
    mixed = sorted({share for share in shares if share < 1.0}, reverse=True)
    alone = _mean_ndcg(heldout, vae_scores, None, [1.0])[0]
    scores = [BlendScore(None, 1.0, alone)]
    progress.expect("strengths tried", len(strengths))
    for strength in strengths:
        linear = LinearTerm(ease_weights(train, strength))
        reached = _mean_ndcg(heldout, vae_scores, linear, mixed)
        scores += [BlendScore(strength, share, ndcg) for share, ndcg in zip(mixed, reached, strict=True)]
        del linear  # before the next one is computed
        progress.advance("strengths tried", 1)
    best = max(scores, key=_preference)
    return LinearChoice(best.strength, best.share, tuple(scores))


def linear_weights(
    features_dir: str, items: int, strength: float, splits: Sequence[str] = ("train",)
) -> npt.NDArray[np.float32]:
    """EASE's weights float32 [items, items], row = history item, of all users of the splits."""
    return ease_weights(read_matrix(features_dir, items, splits), strength)


def read_matrix(features_dir: str, items: int, splits: Sequence[str] = ("train",)) -> sp.csr_array:
    """Who took what, 0/1 float32 [users, items]; items of weight 0 were not taken. Users as the files have them.

    Of held-out users it is what they show.
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
    """ndcg@100 of each share, the mean over the users."""
    sums = np.zeros(len(shares))
    for block in blocks(heldout):
        given, sides = given_of(block)
        vae = vae_scores(given, sides)
        added = None if linear is None else linear.scores(given)
        for place, share in enumerate(shares):
            mixed: Any = vae if added is None else blend(vae, added, share)
            ranked = best_items(mixed, given, tf.constant(_K)).numpy()
            sums[place] += float(metrics_of(ranked, block, (_K,))[f"ndcg@{_K}"].sum())
    return [float(total) / len(heldout) for total in sums]
