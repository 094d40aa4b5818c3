"""Define the served co-occurrence model as a TensorFlow graph with the four signatures of the contract.

The score of a candidate is the sum over the history of weight x s(history item, candidate). The cost of a request does
not depend on the number of items: the graph gathers the neighbor lists of the history, sorts them by neighbor and sums
each run. The graph holds only plain TensorFlow operations and no Python function. This module imports TensorFlow, so
import it inside functions. `saved_model` writes the model.

Two choices make a row's answer independent of its batch and of padding. An id that does not count (padding, unknown, an
older repetition) is dropped before anything is summed. Sums are float64 and published as float32, so equal sums stay
equal whatever the order of the history.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.batch_cf.export.tables import sort_rows
from pipelines.batch_cf.table import NeighborTable
from serving_client.contracts import signatures as contract
from transforms.models.assets import by_popularity
from transforms.models.graph import frozen, traced, vocabulary_table

__all__ = ["ServableModel"]


class ServableModel(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
    """A NeighborTable that answers requests. b, n, m and e below are the sizes of the contract.

    Items are numbered as in the table. The index `unknown` is the number of items and stands for every id that does
    not count. It is not available, its name is "", and its only neighbor is itself with score 0. So no list is empty
    and an index into a list is always valid. The weight of a history item is 2^-(p / recency_half_life), where p is
    the number of counting items after it. Without a half-life the weight is 1.
    """

    def __init__(
        self, table: NeighborTable, vocabulary: str, *, serving_top_k: int, recency_half_life: float | None
    ) -> None:
        """Build the tensors of the model.

        Args:
            table: The item neighbors.
            vocabulary: Path of a text file with one item id a line, in the table's order.
            serving_top_k: Number of items in an answer.
            recency_half_life: Places in a history after which an item counts half. None weighs all items alike.
        """
        super().__init__(name="cooccurrence")
        items = len(table.items)
        widest = int(np.diff(table.indptr).max(initial=1))
        neighbors, scores = sort_rows(table)
        order, by_item = by_popularity(table.users, table.available)
        self.unknown = items
        self.serving_top_k = serving_top_k
        self.recency_half_life = recency_half_life
        self.search_steps = widest.bit_length()

        self.vocabulary = vocabulary_table(vocabulary, items)
        self.names = frozen("names", np.array([*table.items.to_pylist(), contract.PAD_ID], dtype=object))
        self.row_splits = frozen("row_splits", np.append(table.indptr, table.indptr[-1] + 1))
        self.neighbors = frozen("neighbors", np.append(neighbors, np.int32(items)))
        self.scores = frozen("scores", np.append(scores, np.float32(0)))
        self.available = frozen("available", np.append(table.available, False))
        self.popularity = frozen("popularity", np.append(by_item, np.float32(contract.PAD_SCORE)))
        self.popular = frozen("popular", order)

    def signatures(self) -> dict[str, Any]:
        """Trace each signature once and return the concrete functions by name."""
        return traced(self, contract.SIGNATURES)

    def serving_default(self, history: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the best K items of positive score that are not in the history."""
        return self._recommend(history, tf.zeros([tf.shape(history)[0], 0], tf.string))

    def filtered(self, history: tf.Tensor, exclude: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the best K items of positive score that are neither in the history nor excluded."""
        return self._recommend(history, exclude)

    def score_items(self, history: tf.Tensor, candidates: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the score of each candidate.

        The score is 0 if no history item is related to the candidate. It is the popularity if no history item counts.
        """
        index, weight = self._counting(history)
        cold = tf.reduce_all(index == self.unknown, axis=1, keepdims=True)
        candidate = self._index(candidates)
        keys, values = self._related(index, weight)
        # One more column, so that a row without any neighbor can be searched, too.
        keys, _, sums = _sum_runs(
            tf.pad(keys, [[0, 0], [0, 1]], constant_values=self.unknown), tf.pad(values, [[0, 0], [0, 1]])
        )
        # tf.searchsorted reshapes with -1 on its way here, which fails for m = 0.
        place = tf.raw_ops.LowerBound(sorted_inputs=keys, values=candidate, out_type=tf.int32)
        place = tf.minimum(place, tf.shape(keys)[1] - 1)
        found = tf.gather(keys, place, batch_dims=1) == candidate
        related = tf.where(found, tf.gather(sums, place, batch_dims=1), 0.0)
        scores = tf.where(cold, tf.gather(self.popularity, candidate), related)
        return {contract.SCORES: tf.where(candidate == self.unknown, contract.PAD_SCORE, scores)}

    def explain(self, history: tf.Tensor, candidates: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the contribution of each place of the history to each candidate, negative if it speaks against it.

        All contributions are 0 where the score is popularity or -inf.
        """
        index, weight = self._counting(history)
        item = index[:, tf.newaxis, :]
        wanted = self._index(candidates)[:, :, tf.newaxis]
        shape = tf.broadcast_dynamic_shape(tf.shape(item), tf.shape(wanted))
        low = tf.broadcast_to(tf.gather(self.row_splits, item), shape)
        high = end = tf.broadcast_to(tf.gather(self.row_splits, item + 1), shape)
        last = tf.size(self.neighbors, out_type=tf.int64) - 1
        for _ in range(self.search_steps):  # invariant: the wanted neighbor, if there, is in [low, high)
            middle = (low + high) // 2
            after = (low < high) & (tf.gather(self.neighbors, tf.minimum(middle, last)) < wanted)
            low, high = tf.where(after, middle + 1, low), tf.where(after, high, middle)
        place = tf.minimum(low, last)
        found = (low < end) & (tf.gather(self.neighbors, place) == wanted)
        score = tf.cast(tf.gather(self.scores, place), tf.float64) * weight[:, tf.newaxis, :]
        return {contract.CONTRIBUTIONS: tf.where(found, tf.cast(score, tf.float32), 0.0)}

    def _recommend(self, history: tf.Tensor, exclude: tf.Tensor) -> dict[str, tf.Tensor]:
        index, weight = self._counting(history)
        cold = tf.reduce_all(index == self.unknown, axis=1, keepdims=True)
        related, values = self._related(index, weight)
        popular = self._popular(cold, tf.shape(exclude)[1])
        masked = tf.concat([index, self._index(exclude)], axis=1)
        keys, firsts, sums = _sum_runs(
            tf.concat([related, popular, masked], axis=1),
            tf.concat(
                [
                    values,
                    tf.cast(tf.gather(self.popularity, popular), tf.float64),
                    tf.fill(tf.shape(masked), tf.constant(contract.PAD_SCORE, tf.float64)),
                ],
                axis=1,
            ),
        )
        # An item whose sum is not positive is no recommendation: its neighbors speak against it.
        ranked = tf.where(firsts & tf.gather(self.available, keys) & (sums > 0), sums, contract.PAD_SCORE)
        # Keys are sorted by item, and of equal scores top_k takes the first: ties are in the order of ids.
        scores, place = tf.math.top_k(ranked, self.serving_top_k)
        best = tf.where(scores == contract.PAD_SCORE, self.unknown, tf.gather(keys, place, batch_dims=1))
        return {contract.ITEMS: tf.gather(self.names, best), contract.SCORES: scores}

    def _index(self, ids: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.vocabulary.lookup(ids), tf.int32)

    def _counting(self, history: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the counting items, int32 [b, n], and their weights, float64 [b, n].

        An entry that does not count is `unknown` with weight 0.
        """
        index = self._index(history)
        rows, width = tf.shape(index)[0], tf.shape(index)[1]
        row = tf.range(tf.cast(rows, tf.int64))[:, tf.newaxis]
        entry = row * (self.unknown + 1) + tf.cast(index, tf.int64)
        distinct, group = tf.unique(tf.reshape(entry, [-1]))
        column = tf.tile(tf.range(width), [rows])
        newest = tf.gather(tf.math.unsorted_segment_max(column, group, tf.size(distinct)), group) == column
        counts = tf.reshape(newest, tf.shape(index)) & (index < self.unknown)
        weight = tf.cast(counts, tf.float64)
        if self.recency_half_life is not None:
            after = tf.cumsum(weight, axis=1, exclusive=True, reverse=True)
            weight *= tf.pow(tf.constant(2.0, tf.float64), -after / self.recency_half_life)
        return tf.where(counts, index, self.unknown), weight

    def _related(self, index: tf.Tensor, weight: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return all neighbors of each row's history, in its order.

        Returns:
            int32 [b, w] items and float64 [b, w] contributions.
        """
        counting = tf.where(index < self.unknown)
        item = tf.gather_nd(index, counting)
        # Places in the lists, one row per counting item. (Gathering ragged rows would copy all row_splits.)
        lists = tf.ragged.range(tf.gather(self.row_splits, item), tf.gather(self.row_splits, item + 1))
        place, owner = lists.values, lists.value_rowids()
        weights = tf.gather(tf.gather_nd(weight, counting), owner)
        keys = tf.RaggedTensor.from_value_rowids(
            tf.gather(self.neighbors, place),
            tf.gather(counting[:, 0], owner),
            nrows=tf.shape(index, out_type=tf.int64)[0],
            validate=False,
        )
        values = keys.with_values(tf.cast(tf.gather(self.scores, place), tf.float64) * weights)
        return keys.to_tensor(self.unknown), values.to_tensor(0.0)

    def _popular(self, cold: tf.Tensor, excluded: tf.Tensor) -> tf.Tensor:
        """Return popular items, int32 [b, K + e].

        A row without history gets enough of the most popular items to fill K. Other rows get `unknown`.
        """
        first = self.popular[: self.serving_top_k + excluded]
        filled = tf.pad(first, [[0, self.serving_top_k + excluded - tf.size(first)]], constant_values=self.unknown)
        return tf.where(cold, filled[tf.newaxis, :], self.unknown)


def _sum_runs(keys: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Sort each row of int32 keys [b, w] and sum the float64 values of equal keys in the order of the input.

    Returns:
        The sorted keys, where a run of equal keys begins, and float32 sums, each repeated along its run.
    """
    width = tf.shape(keys)[1]
    falling, order = tf.math.top_k(-keys, width)  # stable, and one operation where sort and gather are two
    keys = -falling
    firsts = tf.concat([tf.ones_like(keys[:, :1], tf.bool), keys[:, 1:] != keys[:, :-1]], axis=1)
    run = tf.cumsum(tf.cast(tf.reshape(firsts, [-1]), tf.int32)) - 1
    sums = tf.math.segment_sum(tf.reshape(tf.gather(values, order, batch_dims=1), [-1]), run)
    return keys, firsts, tf.reshape(tf.gather(tf.cast(sums, tf.float32), run), tf.shape(keys))
