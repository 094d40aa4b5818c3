"""The Open Inference Protocol v2, for clients of MLServer, Triton and others.

The models may be those of the contract, or plain scorers whose features the caller computes:

    def featurize(history, candidates):
        return {"x": np.array([[price[item], len(history)] for item in candidates], np.float32)}

    with Client("localhost:8081", model="ranker", protocol=OpenInference(featurize)) as client:
        print(client.recommend(["item-7"], candidates=["item-2", "item-3"], k=1).items)
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from serving_client import open_inference_operations as operations
from serving_client.client import Client
from serving_client.open_inference_operations import Featurize, Scorer
from serving_client.operations import Operation, Spec, Widths
from serving_client.results import Prediction, Recommendation
from serving_client.server_protocol import ServerProtocol

__all__ = ["OpenInference", "OpenInferenceClient"]


@dataclasses.dataclass(frozen=True)
class OpenInference(Scorer, ServerProtocol):
    """The Open Inference Protocol v2, as a client's `protocol`.

    A version is a number. Leave it out if the server's versions are words.

    Args:
        featurize: Function from history (oldest first, not cut) and candidates to the model's inputs by name, one row
            per candidate. None for a model that takes the contract's string tensors (`history`, `candidates`, and
            `exclude` if it is not empty) and returns `items` and `scores`.
        scores_output: Output of a model with `featurize` that holds the scores, [m] or [m, 1].
        scores_column: Column of the scores in an output [m, c], as for class probabilities. A negative number counts
            from the end.
        catalogue: Item ids that `recommend` ranks when a call gives no candidates.
        raw: Send raw contents. False sends typed contents, which every server supports. Both are read.

    Raises:
        TypeError: `featurize` is not a function.
        ValueError: `scores_output` is empty, or an id of the catalogue is invalid.
    """

    name: ClassVar[str] = "the Open Inference Protocol"

    def predict(
        self, spec: Spec, inputs: Mapping[str, Any], signature: str, outputs: Sequence[str]
    ) -> Operation[Prediction]:
        """Run the model on any tensors."""
        if signature:
            raise self.lacks("signature=")
        return operations.predict(spec, inputs, outputs, self.raw)

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
        return operations.recommend(spec, self, widths, history, exclude, k, candidates)

    def score_items(
        self, spec: Spec, widths: Widths, history: Sequence[str], candidates: Sequence[str]
    ) -> Operation[npt.NDArray[np.float32]] | None:
        """Score each candidate."""
        return operations.score_items(spec, self, widths, history, candidates)

    def ready(self, spec: Spec) -> Operation[bool]:
        """Ask whether the model is ready."""
        return operations.ready(spec)

    def readiness(self, spec: Spec) -> Operation[Any]:
        """Ask whether the model is ready."""
        return operations.ready(spec)

    def unready(self, answer: bool) -> str:
        """Return "" if the server says that the model is ready."""
        return "" if answer else "the server says that it is not ready"


class OpenInferenceClient(Client):
    """Deprecated alias of `Client` with `protocol=OpenInference(...)`. The next release removes it."""

    def __init__(
        self,
        targets: str | Sequence[str],
        *,
        featurize: Featurize | None = None,
        scores_output: str = "predict",
        scores_column: int | None = None,
        catalogue: Sequence[str] = (),
        raw: bool = True,
        **settings: Any,
    ) -> None:
        warnings.warn(
            "OpenInferenceClient is deprecated; use Client(..., protocol=OpenInference(...))",
            DeprecationWarning,
            stacklevel=2,
        )
        protocol = OpenInference(featurize, scores_output, scores_column, catalogue, raw)
        super().__init__(targets, protocol=protocol, **settings)
