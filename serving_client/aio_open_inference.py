"""`OpenInferenceClient` for asyncio, with the same names and rules; see `open_inference`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from serving_client import open_inference_operations as operations
from serving_client.aio import Client
from serving_client.balancing import Balance
from serving_client.calls import Metadata
from serving_client.contracts import signatures as contract
from serving_client.credentials import Tls
from serving_client.errors import NotReady, ServingError
from serving_client.hedging import Hedge
from serving_client.observing import Observer
from serving_client.open_inference_operations import Featurize, Scorer
from serving_client.operations import Wait
from serving_client.results import Prediction, Recommendation
from serving_client.retry import Retry

__all__ = ["OpenInferenceClient"]

_RETRY = Retry()
_BALANCE = Balance()


class OpenInferenceClient:
    """Asks servers of the Open Inference Protocol v2, as MLServer or Triton; see `open_inference` for one that blocks.

    targets and all that is not named here: as `aio.Client`. version: a number; leave it out where versions are words.
    featurize: None for a model that takes the contract's string tensors (`history`, `exclude` where it is not
    empty, `candidates`) and gives `items` and `scores`. For a plain scorer a function of history (oldest first, never
    cut) and candidates to the model's inputs by name, one row a candidate; the output scores_output then holds a number
    a row, or in the column scores_column. catalogue: what `recommend` ranks where a call gives no candidates. raw: send
    raw contents; False sends typed ones, which each server knows. Answers are read either way.

    Every method raises a ServingError; what featurize raises passes through, and its time is of the call's. The
    constructor raises ValueError or TypeError, and connects to nothing.
    """

    def __init__(
        self,
        targets: str | Sequence[str],
        *,
        model: str = "",
        version: int | None = None,
        featurize: Featurize | None = None,
        scores_output: str = "predict",
        scores_column: int | None = None,
        catalogue: Sequence[str] = (),
        raw: bool = True,
        timeout_s: float = 1.0,
        retry: Retry = _RETRY,
        hedge: Hedge | None = None,
        balance: Balance = _BALANCE,
        tls: Tls | None = None,
        metadata: Metadata = (),
        history_width: int = contract.HISTORY_WIDTH,
        candidates_width: int = contract.CANDIDATES_WIDTH,
        exclude_width: int = contract.EXCLUDE_WIDTH,
        wait_for_ready: bool = False,
        observers: Sequence[Observer] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scorer = Scorer(featurize, scores_output, scores_column, catalogue, raw)
        # It carries operations of any protocol; what it decides and how it waits is the same for this one.
        self._client = Client(
            targets,
            model=model,
            version=version,
            timeout_s=timeout_s,
            retry=retry,
            hedge=hedge,
            balance=balance,
            tls=tls,
            metadata=metadata,
            history_width=history_width,
            candidates_width=candidates_width,
            exclude_width=exclude_width,
            wait_for_ready=wait_for_ready,
            observers=observers,
            clock=clock,
        )
        self._settings = self._client._settings
        self._call = self._client._call

    async def __aenter__(self) -> OpenInferenceClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"OpenInferenceClient({', '.join(self._settings.targets)}, model={self._settings.model!r})"

    async def close(self, grace_s: float = 1.0) -> None:
        """As aio.Client.close."""
        await self._client.close(grace_s)

    async def predict(
        self,
        inputs: Mapping[str, Any],
        *,
        outputs: Sequence[str] = (),
        model: str | None = None,
        version: int | None = None,
        timeout_s: float | None = None,
        wait_for_ready: bool | None = None,
        metadata: Metadata | None = None,
    ) -> Prediction:
        """Any tensors, one ModelInfer; `outputs` names those wanted, () stands for all the model gives.

        inputs: by name, arrays, numbers, text, lists of them; see `open_inference_codec.write_tensor`.
        """
        started_at_s, spec = self._settings.clock(), self._settings.spec(model, version, None)
        operation = operations.predict(spec, inputs, outputs, self._scorer.raw)
        return await self._call(operation, timeout_s, wait_for_ready, metadata, started_at_s)

    async def recommend(
        self,
        history: Sequence[str],
        *,
        exclude: Sequence[str] = (),
        k: int | None = None,
        candidates: Sequence[str] | None = None,
        model: str | None = None,
        version: int | None = None,
        timeout_s: float | None = None,
        wait_for_ready: bool | None = None,
        metadata: Metadata | None = None,
    ) -> Recommendation:
        """The best items for a history, oldest first: at most k, none of the history or of `exclude`.

        With candidates, or a catalogue, those are scored and ranked here: by score, equal scores by the id's UTF-8,
        each item once, without those of score -inf; where nothing is left to rank nobody is asked, and attempts is 0.
        Without both, a model of the contract ranks by itself. Raises InvalidRequest for a model of features then.
        """
        started_at_s, spec = self._settings.clock(), self._settings.spec(model, version, None)
        widths = self._settings.widths
        operation = operations.recommend(spec, self._scorer, widths, history, exclude, k, candidates)
        if operation is None:
            return Recommendation([], np.zeros(0, np.float32), spec.model, None, "", 0)
        return await self._call(operation, timeout_s, wait_for_ready, metadata, started_at_s)

    async def score_items(
        self,
        history: Sequence[str],
        candidates: Sequence[str],
        *,
        model: str | None = None,
        version: int | None = None,
        timeout_s: float | None = None,
        wait_for_ready: bool | None = None,
        metadata: Metadata | None = None,
    ) -> npt.NDArray[np.float32]:
        """The score of each candidate, float32 [m], all in one request; no candidate, no request."""
        started_at_s, spec = self._settings.clock(), self._settings.spec(model, version, None)
        operation = operations.score_items(spec, self._scorer, self._settings.widths, history, candidates)
        if operation is None:
            return np.zeros(0, np.float32)
        return await self._call(operation, timeout_s, wait_for_ready, metadata, started_at_s)

    async def ready(
        self,
        *,
        model: str | None = None,
        version: int | None = None,
        timeout_s: float | None = None,
        wait_for_ready: bool | None = None,
        metadata: Metadata | None = None,
    ) -> bool:
        """Whether a server says that it serves the model; some raise an error for one they do not know."""
        spec = self._settings.spec(model, version, None)
        return await self._call(operations.ready(spec), timeout_s, wait_for_ready, metadata)

    async def wait_until_ready(
        self,
        timeout_s: float = 60.0,
        *,
        model: str | None = None,
        version: int | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        """Returns as soon as a target serves the model; asks until then.

        Raises DeadlineExceeded with the last thing heard, and errors that waiting does not mend.
        """
        spec = self._settings.spec(model, version, None)
        wait = Wait(spec, timeout_s, self._settings.clock)
        while True:
            try:
                ready = await self._call(operations.ready(spec), wait.timeout_s(), False, metadata)
            except ServingError as error:
                pause_s = wait.failed(error)
            else:
                if ready:
                    return
                pause_s = wait.failed(NotReady("the server says that it is not ready", "", spec.model, spec.version))
            await asyncio.sleep(pause_s)
