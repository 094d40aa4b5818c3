"""The results of calls. Each names the server that answered, for logs and tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ModelMetadata", "Prediction", "Recommendation", "TensorSpec", "VersionStatus"]


@dataclasses.dataclass(frozen=True, slots=True)
class Prediction:
    """The answer of `predict`.

    Args:
        outputs: Arrays by name. Strings are object arrays of bytes.
        model: Model that answered.
        version: Version that answered, or None if the answer does not name it.
        signature: Signature that answered.
        target: `HOST:PORT` of the server that answered.
        attempts: Requests that were sent.
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

    Args:
        items: At most k item ids, none of the history or of `exclude`.
        scores: Scores, float32 [len(items)], falling.
        model: Model that answered.
        version: Version that answered, or None if the answer does not name it.
        target: `HOST:PORT` of the server that answered.
        attempts: Requests that were sent.
        rung: "model", or the rung of a Fallback that answered.
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
    """An input or output of a signature.

    Args:
        dtype: numpy's name, "str" for DT_STRING.
        shape: Sizes, -1 for any. None if the shape is unknown.
    """

    dtype: str
    shape: tuple[int, ...] | None


@dataclasses.dataclass(frozen=True, slots=True)
class ModelMetadata:
    """The inputs and outputs of a served version, by signature and name."""

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
    """A version that the server tracks.

    Args:
        version: The version.
        state: UNKNOWN, START, LOADING, AVAILABLE, UNLOADING, END, or a number that has no name here.
        code: gRPC's code if the load failed (state END), else 0.
        error: gRPC's text if the load failed, else "".
    """

    version: int
    state: str
    code: int
    error: str
