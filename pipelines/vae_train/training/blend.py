"""Choose the rule and the share of the linear term by ndcg@100 on the validation users.

For each rule, the term is fitted to the training users' items with a weight above 0. Its scores are blended with the
model's scores exactly as in the served model. If no share of the linear term helps, the model's share is 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import tensorflow as tf

from pipelines.vae_train.model.linear import Term, blend
from pipelines.vae_train.training.heldout import HeldOut
from pipelines.vae_train.training.reading import read_users
from pipelines.vae_train.training.terms import Ease, Neighbors, Rule
from pipelines.vae_train.training.validation import ScoreFn, best_items, blocks, given_of, metrics_of
from transforms import progress

__all__ = ["DENSE_RULES", "SHARES", "SPARSE_RULES", "BlendScore", "LinearChoice", "choose_linear", "read_matrix"]

DENSE_RULES = tuple(Ease(strength) for strength in (100.0, 250.0, 500.0, 1000.0, 2000.0))
"""Rules to try on a catalogue of up to limit_items items."""
SPARSE_RULES = (Neighbors(0.7, 0.7, 0.3), Neighbors(1.0, 0.5, 0.5))
"""Rules to try beyond: the best of batch_cf on Gowalla, and its defaults."""
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Shares of the model's own scores to try."""
LINEAR_ITEMS = 20_000
"""A larger catalogue gets neighbors. At this size EASE's weights take 1.6 GB, and twice that to compute."""
_K = 100


@dataclasses.dataclass(frozen=True)
class BlendScore:
    """The validation result of one blend.

    Attributes:
        rule: Rule of the linear term, None for the model alone.
        share: Share of the model's scores, 1 for the model alone.
        ndcg: ndcg@100.
    """

    rule: Rule | None
    share: float
    ndcg: float


@dataclasses.dataclass(frozen=True)
class LinearChoice:
    """The best blend.

    Attributes:
        rule: Rule of the linear term, None if the model alone is best.
        share: Share of the model's scores, 1 if the model alone is best.
        scores: All compared blends, first the model alone. Empty if nothing was compared.
    """

    rule: Rule | None
    share: float
    scores: tuple[BlendScore, ...]


def choose_linear(
    features_dir: str,
    heldout: HeldOut,
    vae_scores: ScoreFn,
    *,
    rules: Sequence[Rule] | None = None,
    shares: Sequence[float] = SHARES,
    limit_items: int = LINEAR_ITEMS,
) -> LinearChoice:
    """Choose the rule and the share with the highest ndcg@100.

    A tie goes to the larger share, then to the first rule. Without validation users, the choice is the model alone,
    without a measurement. Memory holds the weights of one rule, twice while they are computed, and the scores of a
    block of users. The model scores every block once per rule.

    Args:
        features_dir: Folder of the features.
        heldout: The validation users.
        vae_scores: The model's scoring function.
        rules: Rules to try. None tries DENSE_RULES, or beyond limit_items SPARSE_RULES.
        shares: Shares of the model's scores to try.
        limit_items: Largest catalogue that gets EASE.
    """
    if rules is None:
        rules = DENSE_RULES if heldout.items <= limit_items else SPARSE_RULES
    if not len(heldout):
        return LinearChoice(None, 1.0, ())
    train = read_matrix(features_dir, heldout.items)
    mixed = sorted({share for share in shares if share < 1.0}, reverse=True)
    progress.expect("terms tried", len(rules))
    progress.expect("users scored", len(heldout) * (1 + len(rules)))
    alone = _mean_ndcg(heldout, vae_scores, None, [1.0])[0]
    scores = [BlendScore(None, 1.0, alone)]
    for rule in rules:
        linear = rule.fit(train)
        reached = _mean_ndcg(heldout, vae_scores, linear, mixed)
        scores += [BlendScore(rule, share, ndcg) for share, ndcg in zip(mixed, reached, strict=True)]
        del linear  # frees memory before the next rule
        progress.advance("terms tried", 1)
    best = max(scores, key=_preference)
    return LinearChoice(best.rule, best.share, tuple(scores))


def read_matrix(features_dir: str, items: int, splits: Sequence[str] = ("train",)) -> sp.csr_array:
    """Read the interactions of the splits as a sparse matrix.

    Args:
        features_dir: Folder of the features.
        items: Size of the vocabulary.
        splits: Names of the splits. A held-out user counts with the input items and the targets.

    Returns:
        float32 [users, items], 1 for an interaction with a weight above 0. Users are in the order of the files.
    """
    parts = []
    for split in splits:
        users = read_users(features_dir, split)
        taken, known = users.weights > 0, users.targets.items >= 0  # a target has no weight of 0
        rows = np.concatenate([users.items.rows()[taken], users.targets.rows()[known]])
        columns = np.concatenate([users.items.items[taken], users.targets.items[known]])
        ones = np.ones(len(rows), np.float32)
        parts.append(sp.csr_array((ones, (rows, columns)), shape=(len(users), items)))
    return sp.csr_array(sp.vstack(parts))


def _preference(score: BlendScore) -> tuple[float, float]:
    return score.ndcg, score.share


def _mean_ndcg(heldout: HeldOut, vae_scores: ScoreFn, linear: Term | None, shares: Sequence[float]) -> list[float]:
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
