"""One machine or many: how replicas divide a batch, add up their gradients and agree on a score.

Every worker reads the same global batches; replica r of n trains on the rows i with i mod n = r. Gradients of the loss
divided by the global batch are summed, so n replicas make the step that one would make, up to the order of sums.
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
    """A tf.distribute strategy and this process's part in it. chief: whether it writes checkpoints and journal."""

    def __init__(self, strategy: tf.distribute.Strategy, *, chief: bool) -> None:
        self.strategy = strategy
        self.chief = chief

    @property
    def replicas(self) -> int:
        """Copies of the model that train in step, over all workers."""
        return int(self.strategy.num_replicas_in_sync)

    def apply(self, gradients: Sequence[Any], variables: Sequence[Any], update: Callable[[Any, Any], Any]) -> None:
        """Sum each variable's gradients over the replicas and call update(variable, sum) wherever it is kept."""
        extended = self.strategy.extended
        summed = extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, list(zip(gradients, variables, strict=True)))
        for variable, gradient in zip(variables, summed, strict=True):
            extended.update(variable, update, args=(gradient,))

    def summed(self, value: Any) -> Any:
        """The sum of a per-replica value."""
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)

    def agreed(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """The mean over the workers: they add up in different orders, and must all decide alike."""
        if self.replicas == 1 or not metrics:
            return dict(metrics)
        values = tf.constant(list(metrics.values()), tf.float64)
        return dict(zip(metrics, _mean(self.strategy, values).numpy().tolist(), strict=True))


def open_distribution(kind: Literal["none", "mirrored", "multiworker"]) -> Distribution:
    """The strategy of --distribute. `mirrored` takes all GPUs; without any, all logical CPU devices.

    `multiworker` is described by TF_CONFIG and must be opened before TensorFlow does anything else in the process.
    Raises BadUsage where TF_CONFIG is missing or it is too late.
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
        raise BadUsage(f"--distribute=multiworker: cannot begin after TensorFlow was used ({error})") from error


def replica_part(rows: Any, context: Any) -> Any:
    """The rows of a batch that are this replica's, int64 [n]. rows: how many there are, int64 scalar."""
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
