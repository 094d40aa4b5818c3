"""The protocols that a client can speak: the interface of all of them, and TensorFlow Serving's.

A protocol turns the arguments of a client's method into an Operation. It sends nothing and holds no connection, so one
object serves any number of clients, blocking or asynchronous. `open_inference` has the other protocol. It is a module
of its own because most clients never load it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from serving_client import operations
from serving_client.errors import NotSupported
from serving_client.operations import Operation, Spec, Widths
from serving_client.results import ModelMetadata, Prediction, Recommendation, VersionStatus

__all__ = ["TENSORFLOW_SERVING", "ServerProtocol", "TensorFlowServing"]


class ServerProtocol:
    """The interface between a client and the protocol of its servers.

    There is one method per method of the client. Here each of them raises NotSupported, and a protocol overrides the
    ones that it has. A method returns None if no request is needed.
    """

    name: ClassVar[str]
    """The protocol's name in messages."""
    labels: ClassVar[bool] = False
    """Whether a request can name a version by its label."""

    def predict(
        self, spec: Spec, inputs: Mapping[str, Any], signature: str, outputs: Sequence[str]
    ) -> Operation[Prediction]:
        """Run any signature on any tensors."""
        raise self.lacks("predict()")

    def recommend(
        self,
        spec: Spec,
        widths: Widths,
        history: Sequence[str],
        exclude: Sequence[str] | None,
        k: int | None,
        candidates: Sequence[str] | None,
    ) -> Operation[Recommendation] | None:
        """Recommend items for one history."""
        raise self.lacks("recommend()")

    def recommend_many(
        self,
        spec: Spec,
        widths: Widths,
        histories: Sequence[Sequence[str]],
        excludes: Sequence[Sequence[str]] | None,
        k: int | None,
    ) -> Operation[list[Recommendation]] | None:
        """Recommend items for several histories in one request."""
        raise self.lacks("recommend_many()", "call recommend() for each history")

    def score_items(
        self, spec: Spec, widths: Widths, history: Sequence[str], candidates: Sequence[str]
    ) -> Operation[npt.NDArray[np.float32]] | None:
        """Score each candidate."""
        raise self.lacks("score_items()")

    def explain(
        self, spec: Spec, widths: Widths, history: Sequence[str], candidates: Sequence[str]
    ) -> Operation[npt.NDArray[np.float32]]:
        """Split each score into the contributions of the history's items."""
        raise self.lacks("explain()")

    def metadata(self, spec: Spec) -> Operation[ModelMetadata]:
        """Read the model's signatures."""
        raise self.lacks("metadata()")

    def status(self, spec: Spec) -> Operation[list[VersionStatus]]:
        """Read the states of the model's versions."""
        raise self.lacks("status()", "call ready()")

    def ready(self, spec: Spec) -> Operation[bool]:
        """Ask whether the model is ready."""
        raise self.lacks("ready()", "call status()")

    def reload_config(self, config: str) -> Operation[None]:
        """Replace the server's config."""
        raise self.lacks("reload_config()")

    def readiness(self, spec: Spec) -> Operation[Any]:
        """Send the request that `wait_until_ready` repeats."""
        raise self.lacks("wait_until_ready()")

    def unready(self, answer: Any) -> str:
        """Return why the model is not ready according to the answer to `readiness`, or "" if it is ready."""
        raise self.lacks("wait_until_ready()")

    def lacks(self, what: str, instead: str = "") -> NotSupported:
        """Return the error for a method or an argument that the protocol does not have."""
        return NotSupported(f"{self.name} does not support {what}" + (f"; {instead}" if instead else ""))


@dataclasses.dataclass(frozen=True)
class TensorFlowServing(ServerProtocol):
    """TensorFlow Serving's gRPC protocol, the default of a client."""

    name: ClassVar[str] = "TensorFlow Serving"
    labels: ClassVar[bool] = True

    def predict(
        self, spec: Spec, inputs: Mapping[str, Any], signature: str, outputs: Sequence[str]
    ) -> Operation[Prediction]:
        """Run any signature on any tensors."""
        return operations.predict(spec, inputs, signature, outputs)

    def recommend(
        self,
        spec: Spec,
        widths: Widths,
        history: Sequence[str],
        exclude: Sequence[str] | None,
        k: int | None,
        candidates: Sequence[str] | None,
    ) -> Operation[Recommendation] | None:
        """Recommend items for one history."""
        if candidates is not None:
            raise self.lacks("candidates=", "call score_items()")
        return operations.recommend(spec, widths, history, exclude, k)

    def recommend_many(
        self,
        spec: Spec,
        widths: Widths,
        histories: Sequence[Sequence[str]],
        excludes: Sequence[Sequence[str]] | None,
        k: int | None,
    ) -> Operation[list[Recommendation]] | None:
        """Recommend items for several histories in one request."""
        histories, excludes = operations.batch(histories, excludes)
        return operations.recommend_many(spec, widths, histories, excludes, k) if histories else None

    def score_items(
        self, spec: Spec, widths: Widths, history: Sequence[str], candidates: Sequence[str]
    ) -> Operation[npt.NDArray[np.float32]] | None:
        """Score each candidate."""
        return operations.score_items(spec, widths, history, candidates)

    def explain(
        self, spec: Spec, widths: Widths, history: Sequence[str], candidates: Sequence[str]
    ) -> Operation[npt.NDArray[np.float32]]:
        """Split each score into the contributions of the history's items."""
        return operations.explain(spec, widths, history, candidates)

    def metadata(self, spec: Spec) -> Operation[ModelMetadata]:
        """Read the model's signatures."""
        return operations.metadata(spec)

    def status(self, spec: Spec) -> Operation[list[VersionStatus]]:
        """Read the states of the model's versions."""
        return operations.status(spec)

    def reload_config(self, config: str) -> Operation[None]:
        """Replace the server's config."""
        return operations.reload_config(config)

    def readiness(self, spec: Spec) -> Operation[Any]:
        """Ask for the status, which also reports a failed load, or for the metadata of a label.

        A server ignores a label in a request for the status.
        """
        return operations.metadata(spec) if spec.version_label is not None else operations.status(spec)

    def unready(self, answer: ModelMetadata | list[VersionStatus]) -> str:
        """Return the states of the versions if none is available, else ""."""
        if isinstance(answer, ModelMetadata) or any(row.state == "AVAILABLE" for row in answer):
            return ""
        states = ", ".join(f"version {row.version} is {row.state} {row.error}".rstrip() for row in answer)
        return states or "the server has no version of it"


TENSORFLOW_SERVING = TensorFlowServing()
