"""Log-likelihood under a softmax whose normaliser is estimated from a sample of the catalogue, for large catalogues.

Candidates of a step are the batch's positives and negatives drawn log-uniformly over the items in order of frequency
(Jean et al. 2015's correction: a logit less the logarithm of its chance of being there). A user's own positives are in
the sum for certain; of the other candidates only those that were drawn count, each divided by the chance that any of
the draws hits it, so the estimate of the normaliser is unbiased whatever the items' true frequencies. The
log-likelihood itself comes out too high on average (Jensen), the less so the more negatives; figures shown to people
are those of the full softmax.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from pipelines.vae_train.model.interface import NoiseKeys
from pipelines.vae_train.model.noise import NEGATIVES, mix, uniform64

__all__ = ["log_uniform_negatives", "sampled_multinomial"]

ABSENT = 1e30
"""Taken off the logit of a candidate that does not count; finite, so that nothing becomes NaN."""


def log_uniform_negatives(items: int, samples: int, noise: NoiseKeys) -> tuple[Any, Any]:
    """Distinct item indices int64 [k], k <= samples, and the logarithm float32 [k] of their chance to be among them.

    Each of `samples` draws takes item i with probability log((i + 2) / (i + 1)) / log(items + 1); repeats are dropped.
    Depends on noise.seed, pass_number and step alone, hence is the same on every device.
    """
    stream = mix(mix(mix(noise.seed, noise.pass_number), NEGATIVES), noise.step)
    uniforms = uniform64(mix(stream, tf.range(samples, dtype=tf.int64)))
    drawn = tf.cast(tf.exp(uniforms * math.log(items + 1.0)), tf.int64) - 1
    ids, _ = tf.unique(tf.clip_by_value(drawn, 0, items - 1))
    place = tf.cast(ids, tf.float64)
    chance = tf.math.log1p(1.0 / (place + 1.0)) / math.log(items + 1.0)
    hit = -tf.math.expm1(samples * tf.math.log1p(-chance))  # 1 - (1 - chance)^samples, exact for small chances
    return ids, tf.cast(tf.math.log(hit), tf.float32)


def sampled_multinomial(
    hidden: Any,
    kernel: Any,
    bias: Any,
    ids: Any,
    weights: Any,
    precision: str,
    negatives: Any,
    log_chance: Any,
) -> Any:
    """As likelihood.multinomial, over the candidates. Gradients of kernel and bias are IndexedSlices, each row once.

    negatives int64 [k], distinct, and log_chance float32 [k]: of log_uniform_negatives. With the whole catalogue and
    zeros it is the full softmax.
    """
    kind = tf.as_dtype(precision)
    rows = ids.value_rowids()
    positives = tf.cast(ids.flat_values, tf.int64)
    flat = tf.cast(weights.flat_values, tf.float32)
    # the negatives come first, so that they are the first k candidates
    candidates, columns = tf.unique(tf.concat([negatives, positives], axis=0), out_idx=tf.int64)
    drawn = tf.size(negatives)
    places = tf.stack([tf.cast(rows, tf.int64), columns[drawn:]], axis=1)
    others = tf.fill([tf.size(candidates) - drawn], ABSENT)

    logits = tf.matmul(tf.cast(hidden, kind), tf.cast(tf.gather(kernel, candidates), kind), transpose_b=True)
    logits = tf.cast(logits, tf.float32) + tf.gather(bias, candidates)
    own = tf.gather_nd(logits, places)
    estimated = tf.tensor_scatter_nd_update(logits - tf.concat([log_chance, others], axis=0), places, own)
    log_sums = tf.reduce_logsumexp(estimated, axis=1)
    totals = tf.math.unsorted_segment_sum(flat, rows, ids.nrows())
    return tf.math.unsorted_segment_sum(flat * own, rows, ids.nrows()) - totals * log_sums
