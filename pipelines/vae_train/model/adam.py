"""Implement the Adam optimiser (Kingma and Ba 2015) with plain variables as its state.

The state is saved in checkpoints, is deterministic and works with tf.distribute. A step follows the paper's efficient
order (end of its section 2), which adds epsilon to the root of the uncorrected second moment. With `lazy`, a row that
the sparse gradient of a step does not contain keeps its value and its moments. Plain Adam would decay the moments of
such a row and change its value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import Any

import tensorflow as tf

__all__ = ["Adam"]

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
"""The values of the paper."""


class Adam(tf.Module):  # type: ignore[misc]
    """An Adam optimiser for a fixed list of variables.

    Create one optimiser per phase of a model, because the bias correction of the moments depends on the number of
    steps. With tf.distribute, create the optimiser in the scope of the strategy.

    Args:
        variables: The variables to train.
        learning_rate: A number, or a scalar variable that a schedule writes.
        lazy: Update only the rows that a gradient of type IndexedSlices contains. If False, such a gradient is
            converted to a dense tensor.
    """

    def __init__(self, variables: Sequence[Any], learning_rate: Any, lazy: bool) -> None:
        super().__init__(name="adam")
        self.learning_rate = learning_rate
        self.lazy = lazy
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.first = [tf.Variable(tf.zeros_like(v), trainable=False, name="first") for v in variables]
        self.second = [tf.Variable(tf.zeros_like(v), trainable=False, name="second") for v in variables]
        copies = tf.distribute.get_strategy().experimental_local_results  # one per replica; a plain variable is its own
        moments = {
            copy.ref(): slots
            for mirrored in zip(variables, self.first, self.second, strict=True)
            for copy, *slots in zip(*map(copies, mirrored), strict=True)
        }
        self._moments = MappingProxyType(moments)  # tf.Module would track a dict and save it in the checkpoint

    def apply(self, grads_and_vars: Iterable[tuple[Any, Any]]) -> None:
        """Take one step on all variables.

        Args:
            grads_and_vars: Pairs of a gradient and its variable.

        Raises:
            ValueError: A variable has no gradient or does not belong to this optimiser.
        """
        self.advance()
        for gradient, variable in grads_and_vars:
            self.update_one(variable, gradient)

    def advance(self) -> None:
        """Begin a step. `apply` calls this method. Call it once before the calls of `update_one` for all variables."""
        self.step.assign_add(1)

    def update_one(self, variable: Any, gradient: Any) -> None:
        """Update one variable. Call it directly or through `strategy.extended.update`.

        Args:
            variable: A variable of this optimiser.
            gradient: Its gradient, dense or IndexedSlices.

        Raises:
            ValueError: The gradient is None, or the variable does not belong to this optimiser.
        """
        if gradient is None:
            raise ValueError(f"{variable.name} has no gradient; remove it from the variables of the optimiser")
        if variable.ref() not in self._moments:
            raise ValueError(f"{variable.name} does not belong to this optimiser; pass it to the constructor")
        first, second = self._moments[variable.ref()]
        power_1, power_2 = self._powers()
        rate = tf.cast(self.learning_rate, tf.float32)
        if isinstance(gradient, tf.IndexedSlices) and self.lazy:
            corrected = rate * tf.sqrt(1.0 - power_2) / (1.0 - power_1)
            _update_rows(variable, first, second, gradient, corrected)
            return
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=first.handle,
            v=second.handle,
            beta1_power=power_1,
            beta2_power=power_2,
            lr=rate,
            beta1=BETA_1,
            beta2=BETA_2,
            epsilon=EPSILON,
            grad=tf.convert_to_tensor(gradient),
        )

    def _powers(self) -> tuple[Any, Any]:
        step = tf.cast(self.step.read_value(), tf.float32)
        return tf.pow(BETA_1, step), tf.pow(BETA_2, step)


def _update_rows(variable: Any, first: Any, second: Any, gradient: Any, rate: Any) -> None:
    """Update each row of a sparse gradient once. Gradients of the same row are summed."""
    rows, places = tf.unique(gradient.indices)
    values = tf.cond(  # avoids a copy if the gradient contains no row twice
        tf.equal(tf.size(rows), tf.size(gradient.indices)),
        true_fn=lambda: gradient.values,
        false_fn=lambda: tf.math.unsorted_segment_sum(gradient.values, places, tf.size(rows)),
    )
    new_first = BETA_1 * tf.gather(first, rows) + (1.0 - BETA_1) * values
    new_second = BETA_2 * tf.gather(second, rows) + (1.0 - BETA_2) * tf.square(values)
    change = rate * new_first / (tf.sqrt(new_second) + EPSILON)
    tf.raw_ops.ResourceScatterUpdate(resource=first.handle, indices=rows, updates=new_first)
    tf.raw_ops.ResourceScatterUpdate(resource=second.handle, indices=rows, updates=new_second)
    tf.raw_ops.ResourceScatterSub(resource=variable.handle, indices=rows, updates=change)
