"""Define the Beam counters of vae_train.

The readers count rows in the namespace `interactions`.
"""

from __future__ import annotations

from apache_beam.metrics import Metrics

from transforms import progress

__all__ = ["VaeMetrics"]


class VaeMetrics:
    """Counters in the namespace `vae_train`.

    Attributes:
        interactions: Number of user-item pairs after deduplication and limits.
        zero_weight: Number of user-item pairs that were left out because their weight is 0.
        users: Number of users with at least one such pair.
        examples: Number of training, validation and test records.
    """

    NAMESPACE = "vae_train"

    def __init__(self) -> None:
        self.interactions = Metrics.counter(self.NAMESPACE, "interactions")
        self.zero_weight = Metrics.counter(self.NAMESPACE, "zero_weight")
        self.users = Metrics.counter(self.NAMESPACE, "users")
        self.examples = Metrics.counter(self.NAMESPACE, "examples")

    def grouped(self, users: int, interactions: int, zero_weight: int) -> None:
        """Count the histories of a shard, also for the progress display."""
        self.users.inc(users)
        self.interactions.inc(interactions)
        self.zero_weight.inc(zero_weight)
        progress.advance("users grouped", users)

    def encoded(self, users: int) -> None:
        """Count records, also for the progress display."""
        self.examples.inc(users)
        progress.advance("examples made", users)
