"""What a call gives back: values with the place they came from, so that a log line or a test can say who answered."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ModelMetadata", "Prediction", "Recommendation", "TensorSpec", "VersionStatus"]


@dataclasses.dataclass(frozen=True, slots=True)
class Prediction:
    """The answer of one Predict.

    outputs: arrays by name; strings are object arrays of bytes. model, version, signature: as the server resolved
    them (version None where it did not say). target: who answered. attempts: requests that were sent for it.
    """

    outputs: dict[str, npt.NDArray[Any]]
    model: str
    version: int | None
    signature: str
    target: str
    attempts: int


@dataclasses.dataclass(frozen=True, slots=True)
class Recommendation:
    """Items for one history, best first.

    items: at most k ids, none of the history or of exclude. scores: float32 [len(items)], falling. model, version,
    target, attempts: as in Prediction. rung: "model", or which step of a Fallback answered.
    """

    items: list[str]
    scores: npt.NDArray[np.float32]
    model: str
    version: int | None
    target: str
    attempts: int
    rung: str = "model"


@dataclasses.dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output of a signature. dtype: numpy's name, "str" for DT_STRING. shape: -1 for any, None unknown."""

    dtype: str
    shape: tuple[int, ...] | None


@dataclasses.dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a served version takes and gives: inputs and outputs by name, by signature."""

    model: str
    version: int | None
    inputs: Mapping[str, Mapping[str, TensorSpec]]
    outputs: Mapping[str, Mapping[str, TensorSpec]]

    @property
    def signatures(self) -> tuple[str, ...]:
        """Names of all signatures, sorted."""
        return tuple(sorted(self.inputs))


@dataclasses.dataclass(frozen=True, slots=True)
class VersionStatus:
    """A version the server tracks.

    state: UNKNOWN, START, LOADING, AVAILABLE, UNLOADING, END, or a number that this client has no name for. code,
    error: gRPC's code and text of a load that failed (state END), else 0 and "".
    """

    version: int
    state: str
    code: int
    error: str
