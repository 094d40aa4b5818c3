"""Log-likelihood of histories under a softmax over the whole catalogue: the step's largest cost, three matrix products.

The target matrix is never made: log-probabilities are gathered at the positives, and the gradient changes softmax
there alone. With 500 users, 41,000 items and a width of 600 on 2 cores, a product takes 130 ms (70 in bfloat16), the
softmax 10 and each of two maxima 4: the products are all but 30 ms of the whole.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

__all__ = ["multinomial", "output_logits"]


def output_logits(hidden: Any, kernel: Any, bias: Any) -> Any:
    """Logits [b, items] in float32. hidden [b, h], kernel [items, h] (a row per item), bias [items]."""
    return tf.nn.bias_add(tf.matmul(hidden, kernel, transpose_b=True), bias)


def multinomial(hidden: Any, kernel: Any, bias: Any, ids: Any, weights: Any, precision: str = "float32") -> Any:
    """Log-likelihood float32 [b]: sum_i weights_i log softmax(kernel hidden + bias)[ids_i] per user.

    hidden [b, h], kernel [items, h], bias [items]: float32, differentiable. ids, weights: RaggedTensor [b, (n)],
    weights >= 0 (0 for a user without items). precision: `bfloat16` makes the three products, and so the logits, in
    that type; sums stay in float32.
    """
    rows = ids.value_rowids()
    places = tf.stack([tf.cast(rows, tf.int64), tf.cast(ids.flat_values, tf.int64)], axis=1)
    flat = tf.cast(weights.flat_values, tf.float32)
    totals = tf.math.unsorted_segment_sum(flat, rows, ids.nrows())
    kind = tf.as_dtype(precision)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def of(hidden: Any, kernel: Any, bias: Any) -> Any:
        kernel_cast = tf.cast(kernel, kind)
        logits = tf.matmul(tf.cast(hidden, kind), kernel_cast, transpose_b=True)
        logits = tf.cast(tf.nn.bias_add(logits, tf.cast(bias, kind)), tf.float32)
        probabilities = tf.nn.softmax(logits)
        # 1 / max p is the sum that softmax divided by, and max p >= 1 / items: no second pass of exp
        log_sums = tf.reduce_max(logits, axis=1) - tf.math.log(tf.reduce_max(probabilities, axis=1))
        at_positives = tf.math.unsorted_segment_sum(flat * tf.gather_nd(logits, places), rows, ids.nrows())
        result = at_positives - totals * log_sums

        def gradient(upstream: Any) -> tuple[Any, Any, Any]:
            """d log-likelihood / d logits = w - W p = -W (p - w / W): p changes in place, W scales [b, h] alone."""
            with tf.control_dependencies([result]):  # all other readers of p are done: the update needs no copy
                shares = flat * tf.gather(tf.math.divide_no_nan(1.0, totals), rows)
            excess = tf.tensor_scatter_nd_sub(probabilities, places, shares)
            excess_cast = tf.cast(excess, kind)
            scale = -(upstream * totals)[:, tf.newaxis]
            to_hidden = scale * tf.cast(tf.matmul(excess_cast, kernel_cast), tf.float32)
            to_kernel = tf.matmul(excess_cast, tf.cast(scale * hidden, kind), transpose_a=True)
            to_bias = tf.linalg.matvec(excess, scale[:, 0], transpose_a=True)
            return to_hidden, tf.cast(to_kernel, tf.float32), to_bias

        return result, gradient

    return of(hidden, tf.convert_to_tensor(kernel), tf.convert_to_tensor(bias))
