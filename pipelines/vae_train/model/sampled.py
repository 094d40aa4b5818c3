"""Compute the log-likelihood with a softmax whose normaliser is estimated from a sample of a large catalogue.

The candidates of a step are the batch's positives, and negatives drawn log-uniformly over the items in order of
frequency. The correction is that of Jean et al. 2015: a logit is reduced by the logarithm of its chance to be drawn. A
user's own positives are always in the sum. Of the other candidates only drawn ones are, each divided by the chance that
at least one draw hits it. The estimate of the normaliser is therefore unbiased for any item frequencies. The
log-likelihood is too high on average (Jensen's inequality), and less so with more negatives. Reported figures use the
full softmax.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from pipelines.vae_train.model.interface import NoiseKeys
from pipelines.vae_train.model.noise import NEGATIVES, mix, uniform64

__all__ = ["log_uniform_negatives", "sampled_multinomial"]

ABSENT = 1e30
"""Subtracted from the logit of a candidate that is not in the sum. It is finite to avoid NaN."""


def log_uniform_negatives(items: int, samples: int, noise: NoiseKeys) -> tuple[Any, Any]:
    """Draw negatives log-uniformly over the catalogue.

    Each draw takes item i with probability log((i + 2) / (i + 1)) / log(items + 1). Repeated items are dropped. The
    draws depend only on noise.seed, noise.pass_number and noise.step, so they are the same on every device.

    Args:
        items: Size of the catalogue.
        samples: Number of draws.
        noise: Keys of the random numbers.

    Returns:
        Distinct item indices int64 [k], k <= samples, and the logarithm float32 [k] of the chance that an item is drawn
        at least once.
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
    """Compute the log-likelihood of each user as `likelihood.multinomial`, over the candidates.

    The gradients of kernel and bias are IndexedSlices with distinct rows.

    Args:
        hidden: float32 [b, h].
        kernel: float32 [items, h], one row per item.
        bias: float32 [items].
        ids: Item indices, RaggedTensor [b, (n)].
        weights: RaggedTensor [b, (n)], at least 0.
        precision: Type of the products, `float32` or `bfloat16`.
        negatives: Distinct item indices int64 [k], from log_uniform_negatives.
        log_chance: float32 [k], from log_uniform_negatives. The whole catalogue with log_chance 0 is the full softmax.

    Returns:
        float32 [b].
    """
    kind = tf.as_dtype(precision)
    rows = ids.value_rowids()
    positives = tf.cast(ids.flat_values, tf.int64)
    flat = tf.cast(weights.flat_values, tf.float32)
    # the negatives must be the first k candidates
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
