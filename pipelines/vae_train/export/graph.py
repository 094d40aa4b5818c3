"""What the served autoencoder computes, as a TensorFlow graph: three signatures of the contract (no `explain`).

A history goes through the very features that training read (`features.serving`) and the model's own `scores`, blended
with the linear term where there is one; this module adds what serving needs on top: the order of ids, what may not be
recommended, and the popularity ranking for a history without a known item. Only plain TensorFlow operations. This
module imports TensorFlow; import it inside functions. Writing the model is `saved_model`'s work.

A row's answer depends neither on its padding nor on the rows beside it, but for the last bits: a matrix product of
another number of rows sums in another order, so logits are equal to some 1e-6 of the largest and not bit by bit, and
two items as close as that may change places. Scores that are equal bit by bit are in the order of the ids.
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
from pipelines.vae_train.model.linear import LinearTerm, blend
from serving_client.contracts import signatures as contract
from transforms.models.graph import frozen, traced, vocabulary_table

__all__ = ["SIGNATURES", "Score", "ServableVae", "blended", "id_order"]

SIGNATURES = (contract.SERVING_DEFAULT, contract.FILTERED, contract.SCORE_ITEMS)
"""What a variational autoencoder can answer: no sum over the history explains its scores."""

Score = Callable[[Mapping[str, tf.RaggedTensor]], tf.Tensor]
"""Features of known items to float32 [b, items] by item index."""


def blended(
    model: Model, linear: LinearTerm | None, share: float, features: Mapping[str, tf.RaggedTensor]
) -> tf.Tensor:
    """float32 [b, items] by item index: the model's log-probabilities, or their blend with the linear term.

    features: `item_ids` and side columns of known, distinct items, oldest first, as `ServingFeatures` returns them.
    share: the model's in the blend, 0 to 1; without a linear term it is not looked at.
    """
    sides = {name.removeprefix(SIDE_PREFIX): each for name, each in features.items() if name.startswith(SIDE_PREFIX)}
    scores = model.scores(features[ITEM_IDS], sides)
    return scores if linear is None else blend(scores, linear.scores(features[ITEM_IDS]), share)


class ServableVae(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
    """A trained model that answers requests; b, n, m, e below are the sizes of the contract.

    Inside, a *place* is an item's rank in the UTF-8 order of ids, and `unknown` = number of items stands for every id
    that the vocabulary does not have: it is not available, its name is "", its popularity -inf. The model counts items
    by their index in the vocabulary; `index` leads from a place to it.
    """

    def __init__(
        self, features: Any, score: Score, vocabulary: Vocabulary, ids_file: str, *, serving_top_k: int
    ) -> None:
        """features: a `features.serving.ServingFeatures`. score: what it returns to float32 [b, items] by item index.

        score is a function and not a module, so that what it does not read is not saved. ids_file: path of a text
        file, one item id a line by place.
        """
        super().__init__(name="vae")
        order = id_order(vocabulary.ids)
        items = len(order)
        self.unknown = items
        self.serving_top_k = serving_top_k
        self.features = features
        self.places = vocabulary_table(ids_file, items)
        # Each has one entry more, for `unknown`; its index is that of any item, as its score is never looked at.
        ids = vocabulary.ids.take(pa.array(order)).to_pylist()
        self.names = frozen("names", np.array([*ids, contract.PAD_ID], dtype=object))
        self.index = frozen("index", np.append(order, order[:1]).astype(np.int32))
        self.available = frozen("available", np.append(vocabulary.available[order], False))
        users = vocabulary.users[order].astype(np.float32)
        self.popularity = frozen("popularity", np.append(users, np.float32(contract.PAD_SCORE)))
        self._score = score
        self.weights: list[tf.Variable] = []

    def signatures(self) -> dict[str, Any]:
        """The concrete function of every signature, by name; each is traced once, here.

        What training alone needs (recvae's previous encoder, as large as the encoder) is not served: of the model the
        SavedModel gets the variables that these functions read.
        """
        functions = traced(self, SIGNATURES)
        read = {id(one): one for function in functions.values() for one in function.graph.variables}
        self.weights = list(read.values())
        return functions

    def serving_default(self, history: tf.Tensor) -> dict[str, tf.Tensor]:
        """The best K items that are not in the history."""
        return self._recommend(history, self.places.lookup(history))

    def filtered(self, history: tf.Tensor, exclude: tf.Tensor) -> dict[str, tf.Tensor]:
        """The best K items that are neither in the history nor excluded."""
        masked = tf.concat([self.places.lookup(history), self.places.lookup(exclude)], axis=1)
        return self._recommend(history, masked)

    def score_items(self, history: tf.Tensor, candidates: tf.Tensor) -> dict[str, tf.Tensor]:
        """The score of each candidate, popularity where nothing in the history is known."""
        scores, cold = self._scored(history)
        place = self.places.lookup(candidates)
        found = tf.gather(scores, tf.gather(self.index, place), batch_dims=1)
        found = tf.where(cold, tf.gather(self.popularity, place), found)
        return {contract.SCORES: tf.where(place == self.unknown, contract.PAD_SCORE, found)}

    def _recommend(self, history: tf.Tensor, masked: tf.Tensor) -> dict[str, tf.Tensor]:
        """masked: int64 [b, w], places that are not recommended; `unknown` and repetitions do no harm."""
        scores, cold = self._scored(history)
        # Columns by place. Between two transpositions, because rows are copied whole: 9 ms for 128 users of 41,000
        # items on one core, against 67 ms for gathering along axis 1.
        ranked = tf.transpose(tf.gather(tf.transpose(scores), self.index))
        ranked = tf.where(cold, self.popularity, ranked)
        ranked = tf.where(self.available, ranked, contract.PAD_SCORE)
        rows = tf.broadcast_to(tf.range(tf.shape(masked, tf.int64)[0])[:, tf.newaxis], tf.shape(masked))
        ranked = tf.tensor_scatter_nd_update(
            ranked, tf.stack([rows, masked], axis=-1), tf.fill(tf.shape(masked), contract.PAD_SCORE)
        )
        # Of equal scores top_k takes the first, and places are in the order of ids.
        width = min(self.serving_top_k, self.unknown)
        best, place = tf.math.top_k(ranked, width)
        place = tf.where(best == contract.PAD_SCORE, self.unknown, place)
        missing = [[0, 0], [0, self.serving_top_k - width]]
        place = tf.pad(place, missing, constant_values=self.unknown)
        best = tf.pad(best, missing, constant_values=contract.PAD_SCORE)
        return {contract.ITEMS: tf.gather(self.names, place), contract.SCORES: best}

    def _scored(self, history: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """float32 [b, items] by item index, and bool [b, 1]: whether the row has no known item."""
        features = self.features(history)
        cold = features[ITEM_IDS].row_lengths()[:, tf.newaxis] == 0
        return self._score(features), cold


def id_order(ids: pa.StringArray) -> npt.NDArray[np.int64]:
    """int64 [items]: the item indices in the UTF-8 order of their ids."""
    order: npt.NDArray[np.int64] = pc.array_sort_indices(ids).to_numpy().astype(np.int64)
    return order
