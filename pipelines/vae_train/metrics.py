"""The counters that vae_train adds to Beam's own; the readers count rows under the namespace `interactions`."""

from __future__ import annotations

from apache_beam.metrics import Metrics

from transforms import progress

__all__ = ["VaeMetrics"]


class VaeMetrics:
    """Namespace `vae_train`.

    interactions: user-item pairs after deduplication and limits. users: users with at least one of them. examples:
    training, validation and test records made. Units: plain counts.
    """

    NAMESPACE = "vae_train"

    def __init__(self) -> None:
        self.interactions = Metrics.counter(self.NAMESPACE, "interactions")
        self.users = Metrics.counter(self.NAMESPACE, "users")
        self.examples = Metrics.counter(self.NAMESPACE, "examples")

    def grouped(self, users: int, interactions: int) -> None:
        """Note the histories of a shard, for the counters and for whoever watches."""
        self.users.inc(users)
        self.interactions.inc(interactions)
        progress.advance("users grouped", users)

    def encoded(self, users: int) -> None:
        """Note records made."""
        self.examples.inc(users)
        progress.advance("examples made", users)
