"""What the served co-occurrence model computes, as a TensorFlow graph: the four signatures of the contract.

The score of a candidate is the sum over the history of weight x s(history item, candidate). Nothing here is as wide
as the catalogue: a request gathers the neighbor lists of its history, sorts them by neighbor and sums each run, so
the cost is that of the lists, for any number of items. Only plain TensorFlow operations, no Python function. This
module imports TensorFlow; import it inside functions. Writing the model is `saved_model`'s work.

Two choices make a row's answer independent of its batch and of padding: an id that does not count (padding, unknown,
an older repetition) is dropped before anything is summed, and sums are float64, published as float32, so equal sums
stay equal whatever the order of the history.
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
    """A NeighborTable that answers requests; b, n, m, e below are the sizes of the contract.

    Items are numbered as in the table, and `unknown` = number of items stands for every id that does not count: it
    is not available, its name is "", and its only neighbor is itself with score 0 (so that no list is empty and an
    index into them is always good). The weight of a history item is 2^-(p / recency_half_life), p the number of
    counting items after it, or 1 without a half-life.
    """

    def __init__(
        self, table: NeighborTable, vocabulary: str, *, serving_top_k: int, recency_half_life: float | None
    ) -> None:
        """vocabulary: path of a text file, one item id a line in the table's order."""
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
        """The concrete function of every signature, by name; each is traced once, here."""
        return traced(self, contract.SIGNATURES)

    def serving_default(self, history: tf.Tensor) -> dict[str, tf.Tensor]:
        """The best K items that are not in the history."""
        return self._recommend(history, tf.zeros([tf.shape(history)[0], 0], tf.string))

    def filtered(self, history: tf.Tensor, exclude: tf.Tensor) -> dict[str, tf.Tensor]:
        """The best K items that are neither in the history nor excluded."""
        return self._recommend(history, exclude)

    def score_items(self, history: tf.Tensor, candidates: tf.Tensor) -> dict[str, tf.Tensor]:
        """The score of each candidate: 0 where nothing in the history is related, popularity where nothing counts."""
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
        """What each place of the history adds to each candidate; all 0 where the score is popularity or -inf."""
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
        ranked = tf.where(firsts & tf.gather(self.available, keys), sums, contract.PAD_SCORE)
        # Keys are sorted by item, and of equal scores top_k takes the first: ties are in the order of ids.
        scores, place = tf.math.top_k(ranked, self.serving_top_k)
        best = tf.where(scores == contract.PAD_SCORE, self.unknown, tf.gather(keys, place, batch_dims=1))
        return {contract.ITEMS: tf.gather(self.names, best), contract.SCORES: scores}

    def _index(self, ids: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.vocabulary.lookup(ids), tf.int32)

    def _counting(self, history: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """int32 [b, n] items, `unknown` where an entry does not count, and their float64 weights (0 there)."""
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
        """All neighbors of each row's history, in its order: int32 [b, w] items and float64 [b, w] contributions."""
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
        """int32 [b, K + e]: for a row without history enough of the most popular items to fill K, else `unknown`."""
        first = self.popular[: self.serving_top_k + excluded]
        filled = tf.pad(first, [[0, self.serving_top_k + excluded - tf.size(first)]], constant_values=self.unknown)
        return tf.where(cold, filled[tf.newaxis, :], self.unknown)


def _sum_runs(keys: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Sorts each row of int32 keys [b, w] and sums the float64 values of equal ones, in the order they came in.

    Returns the sorted keys, where a run of equal ones begins, and float32 sums, the same one all along a run.
    """
    width = tf.shape(keys)[1]
    falling, order = tf.math.top_k(-keys, width)  # stable, and one operation where sort and gather are two
    keys = -falling
    firsts = tf.concat([tf.ones_like(keys[:, :1], tf.bool), keys[:, 1:] != keys[:, :-1]], axis=1)
    run = tf.cumsum(tf.cast(tf.reshape(firsts, [-1]), tf.int32)) - 1
    sums = tf.math.segment_sum(tf.reshape(tf.gather(values, order, batch_dims=1), [-1]), run)
    return keys, firsts, tf.reshape(tf.gather(tf.cast(sums, tf.float32), run), tf.shape(keys))
