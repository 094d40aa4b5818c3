"""Define the TensorFlow graph of the served autoencoder: three signatures of the contract (no `explain`).

The graph uses the features of training (`features.serving`) and the model's `scores`, blended with the linear term if
there is one. This module adds what only serving needs: the order of ids, the masking of items, and the popularity
ranking for a history without a known item. It uses only plain TensorFlow operations. It imports TensorFlow, so import
it inside functions. `saved_model` writes the model.

The answer for a row does not depend on its padding. It depends on the other rows only in the last bits, because a
matrix product of a different number of rows sums in a different order. Logits are then equal to about 1e-6 of the
largest logit, and two items whose scores are that close may swap places. Items with equal scores are ordered by id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from pipelines.vae_train.features.items import Vocabulary
from pipelines.vae_train.features.preprocessing import ITEM_IDS, SIDE_PREFIX
from pipelines.vae_train.model.interface import Model
from pipelines.vae_train.model.linear import Term, blend
from serving_client.contracts import signatures as contract
from transforms.models.graph import frozen, traced, vocabulary_table

__all__ = ["SIGNATURES", "Score", "ServableVae", "blended", "id_order"]

SIGNATURES = (contract.SERVING_DEFAULT, contract.FILTERED, contract.SCORE_ITEMS)
"""The signatures of an autoencoder. `explain` is missing because the scores are not a sum over the history."""

Score = Callable[[Mapping[str, tf.RaggedTensor]], tf.Tensor]
"""Maps the features of known items to scores float32 [b, items] by item index."""


def blended(model: Model, linear: Term | None, share: float, features: Mapping[str, tf.RaggedTensor]) -> tf.Tensor:
    """Score all items with the model, or with its blend with the linear term.

    Args:
        model: The trained model.
        linear: The linear term, or None.
        share: Share of the model's scores in the blend, from 0 to 1. Ignored without a linear term.
        features: `item_ids` and side columns of distinct items in the vocabulary, oldest first, as `ServingFeatures`
            returns them.

    Returns:
        float32 [b, items] by item index. Without a linear term these are log-probabilities.
    """
    sides = {name.removeprefix(SIDE_PREFIX): each for name, each in features.items() if name.startswith(SIDE_PREFIX)}
    scores = model.scores(features[ITEM_IDS], sides)
    return scores if linear is None else blend(scores, linear.scores(features[ITEM_IDS]), share)


class ServableVae(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
    """A trained model that answers requests. The sizes b, n, m and e are those of the contract.

    In this class, a *place* is an item's rank in the UTF-8 order of ids. The place `unknown`, equal to the number of
    items, stands for every id outside the vocabulary. It is not available, its name is "" and its popularity is -inf.
    The model's item indices are positions in the vocabulary, and `index` maps a place to its item index.

    Args:
        features: A `features.serving.ServingFeatures`.
        score: Maps the result of `features` to float32 [b, items] by item index. It is a function and not a module, so
            that only the variables it reads are saved.
        vocabulary: The items by index.
        ids_file: Path of a text file with one item id per line, in the order of places.
        serving_top_k: Number of items per answer.
    """

    def __init__(
        self, features: Any, score: Score, vocabulary: Vocabulary, ids_file: str, *, serving_top_k: int
    ) -> None:
        super().__init__(name="vae")
        order = id_order(vocabulary.ids)
        items = len(order)
        self.unknown = items
        self.serving_top_k = serving_top_k
        self.features = features
        self.places = vocabulary_table(ids_file, items)
        # Each has one more entry for `unknown`. Its index may be that of any item, since its score is never used.
        ids = vocabulary.ids.take(pa.array(order)).to_pylist()
        self.names = frozen("names", np.array([*ids, contract.PAD_ID], dtype=object))
        self.index = frozen("index", np.append(order, order[:1]).astype(np.int32))
        self.available = frozen("available", np.append(vocabulary.available[order], False))
        users = vocabulary.users[order].astype(np.float32)
        self.popularity = frozen("popularity", np.append(users, np.float32(contract.PAD_SCORE)))
        self._score = score
        self.weights: list[tf.Variable] = []

    def signatures(self) -> dict[str, Any]:
        """Trace the concrete function of each signature.

        The SavedModel contains only the variables that these functions read. Variables that only training needs, such
        as recvae's old encoder, are not saved.

        Returns:
            Functions by signature name.
        """
        functions = traced(self, SIGNATURES)
        read = {id(one): one for function in functions.values() for one in function.graph.variables}
        self.weights = list(read.values())
        return functions

    def serving_default(self, history: tf.Tensor) -> dict[str, tf.Tensor]:
        """Recommend the best K items that are not in the history."""
        return self._recommend(history, self.places.lookup(history))

    def filtered(self, history: tf.Tensor, exclude: tf.Tensor) -> dict[str, tf.Tensor]:
        """Recommend the best K items that are neither in the history nor excluded."""
        masked = tf.concat([self.places.lookup(history), self.places.lookup(exclude)], axis=1)
        return self._recommend(history, masked)

    def score_items(self, history: tf.Tensor, candidates: tf.Tensor) -> dict[str, tf.Tensor]:
        """Score each candidate. If no item of the history is known, the score is the popularity."""
        scores, cold = self._scored(history)
        place = self.places.lookup(candidates)
        found = tf.gather(scores, tf.gather(self.index, place), batch_dims=1)
        found = tf.where(cold, tf.gather(self.popularity, place), found)
        return {contract.SCORES: tf.where(place == self.unknown, contract.PAD_SCORE, found)}

    def _recommend(self, history: tf.Tensor, masked: tf.Tensor) -> dict[str, tf.Tensor]:
        """Recommend items except the masked places, int64 [b, w], which may contain `unknown` and repeats."""
        scores, cold = self._scored(history)
        # Order columns by place. Gathering rows between two transpositions takes 9 ms for 128 users of 41,000 items on
        # one core, because rows are copied whole. Gathering along axis 1 takes 67 ms.
        ranked = tf.transpose(tf.gather(tf.transpose(scores), self.index))
        ranked = tf.where(cold, self.popularity, ranked)
        ranked = tf.where(self.available, ranked, contract.PAD_SCORE)
        rows = tf.broadcast_to(tf.range(tf.shape(masked, tf.int64)[0])[:, tf.newaxis], tf.shape(masked))
        ranked = tf.tensor_scatter_nd_update(
            ranked, tf.stack([rows, masked], axis=-1), tf.fill(tf.shape(masked), contract.PAD_SCORE)
        )
        # top_k takes the first of equal scores, and places are in the order of ids.
        width = min(self.serving_top_k, self.unknown)
        best, place = tf.math.top_k(ranked, width)
        place = tf.where(best == contract.PAD_SCORE, self.unknown, place)
        missing = [[0, 0], [0, self.serving_top_k - width]]
        place = tf.pad(place, missing, constant_values=self.unknown)
        best = tf.pad(best, missing, constant_values=contract.PAD_SCORE)
        return {contract.ITEMS: tf.gather(self.names, place), contract.SCORES: best}

    def _scored(self, history: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return scores float32 [b, items] by item index, and whether a row has no known item, bool [b, 1]."""
        features = self.features(history)
        cold = features[ITEM_IDS].row_lengths()[:, tf.newaxis] == 0
        return self._score(features), cold


def id_order(ids: pa.StringArray) -> npt.NDArray[np.int64]:
    """Return the item indices in the UTF-8 order of their ids, int64 [items]."""
    order: npt.NDArray[np.int64] = pc.array_sort_indices(ids).to_numpy().astype(np.int64)
    return order
