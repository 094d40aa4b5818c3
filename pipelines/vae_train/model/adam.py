"""Adam (Kingma and Ba 2015) whose state is plain variables: checkpointed, deterministic, usable below tf.distribute.

The step is the paper's efficient order (end of its section 2): epsilon is added to the root of the uncorrected second
moment. Rows of a sparse gradient are updated lazily on request: a row that a step does not touch keeps its value and
its moments, where plain Adam would decay the moments and move the row on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import Any

import tensorflow as tf

__all__ = ["Adam"]

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
"""The paper's values."""


class Adam(tf.Module):  # type: ignore[misc]
    """An optimiser of the given variables. learning_rate: a number, or a scalar variable that a schedule writes.

    lazy: IndexedSlices update their rows alone; otherwise they are made dense. One optimiser per phase of a model, as
    the step counts for the bias of the moments. Below tf.distribute it is made in the strategy's scope.
    """

    def __init__(self, variables: Sequence[Any], learning_rate: Any, lazy: bool) -> None:
        super().__init__(name="adam")
        self.learning_rate = learning_rate
        self.lazy = lazy
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.first = [tf.Variable(tf.zeros_like(v), trainable=False, name="first") for v in variables]
        self.second = [tf.Variable(tf.zeros_like(v), trainable=False, name="second") for v in variables]
        copies = tf.distribute.get_strategy().experimental_local_results  # of each replica; a plain variable: itself
        moments = {
            copy.ref(): slots
            for mirrored in zip(variables, self.first, self.second, strict=True)
            for copy, *slots in zip(*map(copies, mirrored), strict=True)
        }
        self._moments = MappingProxyType(moments)  # a dict would be taken for a part of the checkpoint

    def apply(self, grads_and_vars: Iterable[tuple[Any, Any]]) -> None:
        """One step on all the pairs. Raises ValueError for a variable without gradient or unknown to the optimiser."""
        self.advance()
        for gradient, variable in grads_and_vars:
            self.update_one(variable, gradient)

    def advance(self) -> None:
        """Begins a step. `apply` does it; who calls `update_one` calls this first, once for all variables."""
        self.step.assign_add(1)

    def update_one(self, variable: Any, gradient: Any) -> None:
        """The step of one variable; to be called directly, or by `strategy.extended.update`."""
        if gradient is None:
            raise ValueError(f"{variable.name} has no gradient: leave it out of the optimiser's variables")
        if variable.ref() not in self._moments:
            raise ValueError(f"{variable.name} is not one of the variables this optimiser was made for")
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
    """Moves the rows of a sparse gradient, each once: rows that it names twice are summed."""
    rows, places = tf.unique(gradient.indices)
    values = tf.cond(  # a gradient that names no row twice is not copied
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
