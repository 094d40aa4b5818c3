"""Distribute training: divide batches among replicas, sum gradients and average scores.

Every worker reads the same global batches. Replica r of n trains on the rows i with i mod n = r. The loss is divided by
the size of the global batch, and gradients are summed. A step of n replicas therefore equals a step of one replica, up
to the order of the sums.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import tensorflow as tf

from transforms.errors import BadUsage

__all__ = ["Distribution", "open_distribution", "replica_part"]


class Distribution:
    """A tf.distribute strategy and the role of this process.

    Args:
        strategy: The strategy.
        chief: Whether this process writes checkpoints and the journal.
    """

    def __init__(self, strategy: tf.distribute.Strategy, *, chief: bool) -> None:
        self.strategy = strategy
        self.chief = chief

    @property
    def replicas(self) -> int:
        """Number of synchronised copies of the model over all workers."""
        return int(self.strategy.num_replicas_in_sync)

    def apply(self, gradients: Sequence[Any], variables: Sequence[Any], update: Callable[[Any, Any], Any]) -> None:
        """Sum the gradients of each variable over the replicas and update every copy of the variable.

        Args:
            gradients: Per-replica gradients, aligned with variables.
            variables: The variables.
            update: Called with a variable and its summed gradient.
        """
        extended = self.strategy.extended
        summed = extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, list(zip(gradients, variables, strict=True)))
        for variable, gradient in zip(variables, summed, strict=True):
            extended.update(variable, update, args=(gradient,))

    def summed(self, value: Any) -> Any:
        """Return the sum of a per-replica value."""
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)

    def agreed(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Return the mean of each metric over the workers, so that all workers take the same decisions."""
        if self.replicas == 1 or not metrics:
            return dict(metrics)
        values = tf.constant(list(metrics.values()), tf.float64)
        return dict(zip(metrics, _mean(self.strategy, values).numpy().tolist(), strict=True))


def open_distribution(kind: Literal["none", "mirrored", "multiworker"]) -> Distribution:
    """Open the strategy of --distribute.

    Args:
        kind: `mirrored` uses all GPUs, or all logical CPU devices if there is no GPU. `multiworker` uses the cluster of
            TF_CONFIG. Open it before any other use of TensorFlow in the process.

    Raises:
        BadUsage: TF_CONFIG is not set or not valid, or TensorFlow was used before.
    """
    if kind == "none":
        return Distribution(tf.distribute.get_strategy(), chief=True)
    if kind == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return Distribution(tf.distribute.MirroredStrategy([device.name for device in devices]), chief=True)
    chief = _is_chief(os.environ.get("TF_CONFIG", ""))
    try:
        return Distribution(tf.distribute.MultiWorkerMirroredStrategy(), chief=chief)
    except RuntimeError as error:
        raise BadUsage(
            f"--distribute=multiworker: must be opened before any other use of TensorFlow in the process ({error})"
        ) from error


def replica_part(rows: Any, context: Any) -> Any:
    """Return the rows of a batch that this replica trains on.

    Args:
        rows: Number of rows of the batch, int64 scalar.
        context: Replica context of tf.distribute.

    Returns:
        int64 [n].
    """
    first = tf.cast(context.replica_id_in_sync_group, tf.int64)
    return tf.range(first, rows, context.num_replicas_in_sync, dtype=tf.int64)


def _is_chief(config: str) -> bool:
    try:
        described = json.loads(config)
        cluster, task = described["cluster"], described["task"]
        kind, index = task["type"], int(task["index"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadUsage(
            "--distribute=multiworker: the environment variable TF_CONFIG must name cluster and task, e.g. "
            '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
        ) from error
    return kind == "chief" or (kind == "worker" and index == 0 and not cluster.get("chief"))


@tf.function  # type: ignore[untyped-decorator]
def _mean(strategy: Any, values: Any) -> Any:
    per_replica = strategy.run(tf.identity, args=(values,))
    return strategy.reduce(tf.distribute.ReduceOp.MEAN, per_replica, axis=None)
