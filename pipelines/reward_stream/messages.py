"""What travels to the publisher: steps of shards and reports of the source, one key, one coder."""

from __future__ import annotations

import pickle

from pipelines.reward_stream.sources.reports import SourceReport
from transforms.attribution.joining.delta import Step

__all__ = ["read_message", "report_message", "step_message"]

# All steps meet in one place; the work there is per row and tick, not per event.
_KEY = b"publish"


def step_message(step: Step) -> tuple[bytes, bytes]:
    """A shard's step, keyed for the publisher."""
    return _KEY, pickle.dumps(step, protocol=5)


def report_message(report: SourceReport) -> tuple[bytes, bytes]:
    """A source's report, keyed for the publisher."""
    return _KEY, pickle.dumps(report, protocol=5)


def read_message(data: bytes) -> Step | SourceReport:
    """What `step_message` or `report_message` wrote."""
    message = pickle.loads(data)
    if not isinstance(message, Step | SourceReport):
        raise TypeError(f"a message to the publisher holds {type(message).__name__}")
    return message
