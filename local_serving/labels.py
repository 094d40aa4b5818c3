"""Which version does a label stand for? It moves only to a version that is AVAILABLE, so that none leads nowhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import grpc

from local_serving.config import Model
from local_serving.errors import Status
from local_serving.servables import State, VersionState

__all__ = ["Labels", "assigned", "version_of"]

Labels = Mapping[str, Mapping[str, int]]
"""Model to label to version."""


def assigned(
    models: Iterable[Model],
    states: Callable[[str], Mapping[int, VersionState]],
    before: Labels,
    allow_unavailable: bool,
) -> dict[str, dict[str, int]]:
    """All labels of a config.

    states: of a model's versions. before: labels in force. allow_unavailable: a label that is new, or stays where it
    is, may stand for a version that is not AVAILABLE. Raises Status FAILED_PRECONDITION; then no label changes.
    """
    labels: dict[str, dict[str, int]] = {}
    for model in models:
        available = {version for version, row in states(model.name).items() if row.state is State.AVAILABLE}
        for label, version in model.labels.items():
            moves = before.get(model.name, {}).get(label, version) != version
            if version not in available and (moves or not allow_unavailable):
                raise Status(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    f"Request to assign label to version {version} of model {model.name}, which is not currently"
                    " available for inference",
                )
            labels.setdefault(model.name, {})[label] = version
    return labels


def version_of(labels: Labels, model: str, label: str) -> int:
    """The version a label stands for. Raises Status INVALID_ARGUMENT for one that nobody assigned."""
    try:
        return labels[model][label]
    except KeyError:
        raise Status(grpc.StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}") from None
