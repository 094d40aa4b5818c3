"""Compile a training step per phase as a graph: the loss of a batch, its gradients and the optimiser's update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from pipelines.vae_train.model.adam import Adam
from pipelines.vae_train.model.interface import Batch, Model, NoiseKeys
from pipelines.vae_train.training.distribution import Distribution, replica_part

__all__ = ["StepFn", "all_finite", "make_step"]

StepFn = Callable[[Any, Any, Any, Any], Any]
"""Maps (batch, pass number, step, KL weight) to float32 [3]: loss, log-likelihood and KL, summed over the batch."""


def make_step(model: Model, optimizer: Adam, phase: str, seed: int, spec: Any, distribution: Distribution) -> StepFn:
    """Compile the training step of a phase.

    Args:
        model: The model.
        optimizer: Optimiser of the phase's variables.
        phase: One of the model's phases.
        seed: Seed of the run.
        spec: Element spec of the data set. One graph serves any number of users and items.
        distribution: Distribution of the step over replicas.
    """
    variables = model.variables_of(phase)

    def on_replica(batch: Batch, noise: NoiseKeys, kl_weight: Any) -> tuple[list[Any], Any]:
        users = tf.size(batch.user_keys, tf.int64)
        counts = tf.constant(1.0)
        if distribution.replicas > 1:
            rows = replica_part(users, tf.distribute.get_replica_context())
            # Some kernels fail on an empty batch, for example by dividing by its size. A replica without rows
            # therefore computes the first user, whose items replica 0 updates anyway, with weight 0.
            counts = tf.cast(tf.size(rows) > 0, tf.float32)
            batch = _rows_of(batch, tf.cond(tf.size(rows) > 0, lambda: rows, lambda: tf.zeros([1], tf.int64)))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            losses = model.loss(batch, noise, phase, kl_weight)
            mean = counts * losses.total / tf.cast(users, tf.float32)
        return tape.gradient(mean, variables), counts * tf.stack([losses.total, losses.log_likelihood, losses.kl])

    def step(batch: Batch, pass_number: Any, number: Any, kl_weight: Any) -> Any:
        noise = NoiseKeys(seed, pass_number, number)
        gradients, sums = distribution.strategy.run(on_replica, args=(batch, noise, kl_weight))
        optimizer.advance()
        distribution.apply(gradients, variables, optimizer.update_one)
        return distribution.summed(sums)

    count = tf.TensorSpec([], tf.int64)
    compiled: StepFn = tf.function(step, input_signature=[spec, count, count, tf.TensorSpec([], tf.float32)])
    return compiled


def all_finite(model: Model, phases: tuple[str, ...]) -> bool:
    """Return whether all values of all trained variables are finite."""
    variables = {variable.ref(): variable for phase in dict.fromkeys(phases) for variable in model.variables_of(phase)}
    return all(bool(tf.math.is_finite(tf.reduce_sum(tf.abs(variable)))) for variable in variables.values())


def _rows_of(batch: Batch, rows: Any) -> Batch:
    sides = {name: tf.gather(side, rows) for name, side in batch.sides.items()}
    return Batch(
        tf.gather(batch.user_keys, rows), tf.gather(batch.item_ids, rows), tf.gather(batch.weights, rows), sides
    )
