"""Map labels to versions. A label moves only to a version that is AVAILABLE, so that every label can be called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import grpc

from local_serving.config import Model
from local_serving.errors import Status
from local_serving.servables import State, VersionState

__all__ = ["Labels", "assigned", "version_of"]

Labels = Mapping[str, Mapping[str, int]]
"""Version by model and label."""


def assigned(
    models: Iterable[Model],
    states: Callable[[str], Mapping[int, VersionState]],
    before: Labels,
    allow_unavailable: bool,
) -> dict[str, dict[str, int]]:
    """Return all labels of a config.

    Args:
        models: Models of the config.
        states: Returns the states of a model's versions.
        before: Labels of the current config.
        allow_unavailable: Whether a label that is new or does not move may name a version that is not AVAILABLE.

    Raises:
        Status: FAILED_PRECONDITION if a label names a version that it may not name. Then no label changes.
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
    """Return the version of a label. Raise Status INVALID_ARGUMENT for an unknown label."""
    try:
        return labels[model][label]
    except KeyError:
        raise Status(grpc.StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}") from None
