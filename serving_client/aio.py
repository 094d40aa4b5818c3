"""The asynchronous client of model servers: it carries out the decisions of `calls` with grpc.aio.

    async with aio.Client("localhost:8500", model="cf") as client:
        print((await client.recommend(["item-7", "item-12"], k=10)).items)

Tasks of one loop may share a client. Cancelling a task also cancels its request at the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar, Unpack, cast

import grpc
import grpc.aio
import numpy as np
import numpy.typing as npt

from serving_client import forking, operations
from serving_client.balancing import Balance
from serving_client.calls import (
    NO_MODEL,
    Asked,
    CallOptions,
    Engine,
    Metadata,
    ModelOptions,
    Plan,
    Settings,
    Turn,
    checked_metadata,
)
from serving_client.channel import channel_options, target_list
from serving_client.contracts import signatures as contract
from serving_client.credentials import Tls, channel_credentials
from serving_client.errors import ClientClosed, ServingError
from serving_client.hedging import Hedge
from serving_client.observing import Observer
from serving_client.operations import Operation
from serving_client.results import ModelMetadata, Prediction, Recommendation, VersionStatus
from serving_client.retry import Retry
from serving_client.server_protocol import TENSORFLOW_SERVING, ServerProtocol

__all__ = ["Client"]

T = TypeVar("T")

_RETRY = Retry()
_BALANCE = Balance()


class Client:
    """`serving_client.Client` with async methods: same arguments, results and errors.

    The client connects on the loop that makes the first call. On another loop (a second asyncio.run) it opens new
    connections and drops the old ones. Close the client before the process forks. See `forking`.
    """

    def __init__(
        self,
        targets: str | Sequence[str],
        *,
        protocol: ServerProtocol = TENSORFLOW_SERVING,
        model: str = "",
        version: int | None = None,
        version_label: str | None = None,
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
        self._settings = Settings(
            targets=target_list(targets),
            protocol=protocol,
            model=model,
            version=version,
            version_label=version_label,
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
            observers=tuple(observers),
            clock=clock,
        )
        self._protocol = protocol
        self._widths = self._settings.widths
        self._closed = False
        self._connected: _Connected | None = None
        forking.watch(self._forked)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"aio.Client({', '.join(self._settings.targets)}, model={self._settings.model!r})"

    async def close(self, grace_s: float = 1.0) -> None:
        """Close the connections. New calls raise ClientClosed at once.

        A second close() does nothing.

        Args:
            grace_s: Seconds that running calls may take to finish. Then they raise ClientClosed too.
        """
        self._closed = True
        connected = self._connected
        if connected is None:
            return
        connected.engine.closed = True
        connected.closing.set()
        if connected.loop is not asyncio.get_running_loop():
            _leave_behind(connected)
            self._connected = None
            return
        if connected.under_way:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(connected.drained.wait(), grace_s)
        for channel in connected.channels:
            await channel.close()
        self._connected = None

    async def predict(
        self,
        inputs: Mapping[str, Any],
        *,
        signature: str = "",
        outputs: Sequence[str] = (),
        **options: Unpack[CallOptions],
    ) -> Prediction:
        """Run the model on any tensors.

        Args:
            inputs: Values by input name: arrays, numbers, text, or lists of them.
            signature: Signature to run. The empty string runs the default signature.
            outputs: Names of the outputs to return. An empty sequence returns all.
            **options: See `CallOptions`.

        Raises:
            ServingError: The call failed. NotSupported: a signature is given under `OpenInference`.
        """
        asked = self._settings.asked(options)
        return await self._call(self._protocol.predict(asked.spec, inputs, signature, outputs), asked)

    async def recommend(
        self,
        history: Sequence[str],
        *,
        exclude: Sequence[str] = (),
        k: int | None = None,
        candidates: Sequence[str] | None = None,
        **options: Unpack[CallOptions],
    ) -> Recommendation:
        """Recommend the best items for a history.

        An item of `history` or of `exclude` is never recommended, however long they are. TensorFlow Serving: the
        model sees the newest history_width items, and the request excludes the older ones. A request that excludes
        items needs a model with the signature `filtered`.

        `OpenInference` scores and ranks the candidates, or the catalogue, in this process: by score, and by the id's
        UTF-8 if scores are equal. Each item appears once, and an item whose score is -inf is left out. If no item is
        left to rank, no request is sent and `attempts` is 0. Without candidates and catalogue a model of the contract
        ranks its own items, and a model with `featurize` raises InvalidRequest.

        Args:
            history: Item ids, oldest first.
            exclude: Item ids that are not recommended.
            k: Number of items to return at most. None returns as many as the model gives.
            candidates: Item ids to rank, under `OpenInference` only.
            **options: See `CallOptions`.

        Raises:
            ServingError: The call failed. NotSupported: candidates are given under TensorFlow Serving.
        """
        asked = self._settings.asked(options)
        operation = self._protocol.recommend(asked.spec, self._widths, history, exclude, k, candidates)
        if operation is None:
            return Recommendation([], np.zeros(0, np.float32), asked.spec.model, None, "", 0)
        return await self._call(operation, asked)

    async def recommend_many(
        self,
        histories: Sequence[Sequence[str]],
        *,
        excludes: Sequence[Sequence[str]] | None = None,
        k: int | None = None,
        **options: Unpack[CallOptions],
    ) -> list[Recommendation]:
        """Recommend items for many histories in one request.

        Args:
            histories: Histories as in `recommend`. Without a history no request is sent.
            excludes: One list of excluded item ids per history.
            k: Number of items per history at most. None returns as many as the model gives.
            **options: See `CallOptions`.

        Raises:
            ServingError: The call failed. NotSupported: the protocol is `OpenInference`.
        """
        asked = self._settings.asked(options)
        operation = self._protocol.recommend_many(asked.spec, self._widths, histories, excludes, k)
        return [] if operation is None else await self._call(operation, asked)

    async def score_items(
        self, history: Sequence[str], candidates: Sequence[str], **options: Unpack[CallOptions]
    ) -> npt.NDArray[np.float32]:
        """Score each candidate for a history.

        Args:
            history: Item ids, oldest first.
            candidates: Item ids to score. Under `OpenInference` no request is sent without candidates.
            **options: See `CallOptions`.

        Returns:
            Scores, float32 [m]. Under TensorFlow Serving an item that the model does not contain scores -inf.

        Raises:
            ServingError: The call failed.
        """
        asked = self._settings.asked(options)
        operation = self._protocol.score_items(asked.spec, self._widths, history, candidates)
        return np.zeros(0, np.float32) if operation is None else await self._call(operation, asked)

    async def explain(
        self, history: Sequence[str], candidates: Sequence[str], **options: Unpack[CallOptions]
    ) -> npt.NDArray[np.float32]:
        """Split the score of each candidate into the contributions of the history's items.

        Args:
            history: Item ids, oldest first. The newest history_width of them are sent.
            candidates: Item ids to explain.
            **options: See `CallOptions`.

        Returns:
            Contributions, float32 [m, n]: one row per candidate, one column per item that was sent, in its order.

        Raises:
            ServingError: The call failed. NotSupported: the model has no signature `explain`, or the protocol is
                `OpenInference`.
        """
        asked = self._settings.asked(options)
        return await self._call(self._protocol.explain(asked.spec, self._widths, history, candidates), asked)

    async def metadata(self, **options: Unpack[CallOptions]) -> ModelMetadata:
        """Read the model's signatures: names, dtypes and shapes of inputs and outputs.

        Args:
            **options: See `CallOptions`.

        Raises:
            ServingError: The call failed. NotSupported: the protocol is `OpenInference`.
        """
        asked = self._settings.asked(options)
        return await self._call(self._protocol.metadata(asked.spec), asked)

    async def status(self, **options: Unpack[CallOptions]) -> list[VersionStatus]:
        """Read the states of the model's versions, newest first, or the state of one version.

        One of several targets answers, for itself. Servers ignore a version label here.

        Args:
            **options: See `CallOptions`.

        Raises:
            ServingError: The call failed. NotSupported: the protocol is `OpenInference`.
        """
        asked = self._settings.asked(options)
        return await self._call(self._protocol.status(asked.spec), asked)

    async def ready(self, **options: Unpack[CallOptions]) -> bool:
        """Return whether a server reports that the model is ready.

        Some servers report an error for a model that they do not have.

        Args:
            **options: See `CallOptions`.

        Raises:
            ServingError: The call failed. NotSupported: the protocol is TensorFlow Serving, which has `status`.
        """
        asked = self._settings.asked(options)
        return await self._call(self._protocol.ready(asked.spec), asked)

    async def wait_until_ready(self, timeout_s: float = 60.0, **options: Unpack[ModelOptions]) -> None:
        """Wait until a target serves the model, or the version or label.

        Args:
            timeout_s: Seconds to wait at most.
            **options: See `ModelOptions`.

        Raises:
            ServingError: The call failed in a way that waiting does not change. DeadlineExceeded: the model was not
                ready in time. Its message ends with the last answer.
        """
        asked = self._settings.asked(cast("CallOptions", options), ModelOptions)
        wait = operations.Wait(asked.spec, timeout_s, self._settings.clock)
        while True:
            question = asked._replace(timeout_s=wait.timeout_s(), wait_for_ready=False, started_at_s=None)
            try:
                answer = await self._call(self._protocol.readiness(asked.spec), question)
            except ServingError as error:
                pause_s = wait.failed(error)
            else:
                reason = self._protocol.unready(answer)
                if not reason:
                    return
                pause_s = wait.unready(reason)
            await asyncio.sleep(pause_s)

    async def reload_config(
        self,
        config: str,
        *,
        timeout_s: float = 60.0,
        wait_for_ready: bool | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        """Replace the config of a server, which then serves the models of the new config only.

        The request is sent once, to one target. For several targets make one client for each. The server answers
        when new models are loaded.

        Args:
            config: ModelServerConfig in protobuf text format.
            timeout_s: Deadline of the call in seconds.
            wait_for_ready: As in `CallOptions`.
            metadata: As in `CallOptions`.

        Raises:
            ServingError: The call failed. NotSupported: the protocol is `OpenInference`.
        """
        asked = Asked(NO_MODEL, timeout_s, wait_for_ready, metadata)
        await self._call(self._protocol.reload_config(config), asked)

    async def _call(self, operation: Operation[T], asked: Asked) -> T:
        extra = checked_metadata(asked.metadata) if asked.metadata else ()
        connected = self._connected
        if connected is None or connected.loop is not asyncio.get_running_loop():
            connected = self._reconnected()
        plan = connected.engine.plan(operation, asked.timeout_s, asked.started_at_s)
        settings = self._settings
        sent = settings.metadata or None
        if extra or plan.metadata:
            sent = (*(sent or ()), *extra, *plan.metadata)
        wait = settings.wait_for_ready if asked.wait_for_ready is None else asked.wait_for_ready
        connected.under_way += 1
        try:
            if settings.hedge is not None and operation.repeatable:
                return await self._hedged(plan, connected, sent, wait)
            return await self._plain(plan, connected, sent, wait)
        except ServingError:
            raise
        except BaseException:  # a cancelled task, metadata that gRPC refuses
            plan.abandoned()
            raise
        finally:
            connected.under_way -= 1
            if connected.engine.closed and not connected.under_way:
                connected.drained.set()

    async def _plain(self, plan: Plan[T], connected: _Connected, metadata: Metadata | None, wait: bool) -> T:
        """Send one request after the other."""
        operation = plan.operation
        while True:
            turn = plan.begin()
            try:
                reply = await connected.stub(turn.index, operation.method)(
                    operation.request, timeout=turn.left_s, metadata=metadata, wait_for_ready=wait
                )
            except grpc.RpcError as failure:
                await self._pause(await self._failed(plan, turn, failure, connected, metadata), plan, connected, turn)
            except BaseException as failure:
                plan.lost(turn)
                if connected.engine.closed and _is_of_the_channel(failure):
                    raise plan.over(plan.cancelled(turn.target)) from failure
                raise
            else:
                return plan.succeeded(turn, reply)

    async def _hedged(self, plan: Plan[T], connected: _Connected, metadata: Metadata | None, wait: bool) -> T:
        """Send up to two requests at the same time. The first answer wins."""
        operation = plan.operation
        running: dict[asyncio.Task[bytes], Turn] = {}

        async def answer(turn: Turn) -> bytes:
            reply: bytes = await connected.stub(turn.index, operation.method)(
                operation.request, timeout=turn.left_s, metadata=metadata, wait_for_ready=wait
            )
            return reply

        def send(hedged: bool) -> None:
            turn = plan.begin(hedged)
            running[asyncio.ensure_future(answer(turn))] = turn

        try:
            send(False)
            hedge_s = plan.hedge_after_s()
            while True:
                done, _ = await asyncio.wait(running, timeout=hedge_s, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    hedge_s = None
                    if plan.may_hedge():
                        send(True)
                    continue
                task = min(done, key=_failed_last)
                turn = running.pop(task)
                try:
                    reply = task.result()
                except grpc.RpcError as failure:
                    if running:  # the other one may still answer
                        plan.noted(turn, failure)
                        hedge_s = None
                        continue
                    await self._pause(
                        await self._failed(plan, turn, failure, connected, metadata), plan, connected, turn
                    )
                    send(False)
                    hedge_s = plan.hedge_after_s()
                except BaseException as failure:
                    plan.lost(turn)
                    if connected.engine.closed and _is_of_the_channel(failure):
                        raise plan.over(plan.cancelled(turn.target)) from failure
                    raise
                else:
                    return plan.succeeded(turn, reply)
        finally:
            for task, turn in running.items():
                task.cancel()
                plan.lost(turn)

    async def _failed(
        self, plan: Plan[T], turn: Turn, failure: grpc.RpcError, connected: _Connected, metadata: Metadata | None
    ) -> float:
        """Return the seconds until the next request, or raise the error that ends the call."""
        error = plan.noted(turn, failure)
        if plan.unclear(error):
            method, request, left_s = plan.status_request()
            with contextlib.suppress(grpc.RpcError):  # then the first error is raised
                reply = await connected.stub(turn.index, method)(request, timeout=left_s, metadata=metadata)
                error = plan.looked_into(error, reply)
        delay_s = plan.retry_delay_s(error)
        if delay_s is None:
            raise plan.over(error) from failure
        return delay_s

    async def _pause(self, seconds: float, plan: Plan[T], connected: _Connected, turn: Turn) -> None:
        """Wait for the next attempt. close() ends the wait."""
        if seconds > 0.0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(connected.closing.wait(), seconds)
                raise plan.over(plan.cancelled(turn.target))

    def _reconnected(self) -> _Connected:
        """Open connections on the running loop, for a client that has none there."""
        if self._connected is not None:
            _leave_behind(self._connected)
            self._connected = None
        if self._closed:
            raise ClientClosed("the client is closed; make another", "", self._settings.model)
        self._connected = _Connected(self._settings)
        return self._connected

    def _forked(self) -> bool:
        """Drop the connections of the parent process and its loop. `forking` calls this in the child."""
        connected, self._connected = self._connected, None
        if connected is not None:
            _left_behind.append(connected)
        return bool(_left_behind)


class _Connected:
    """The channels of a client on one loop, their stubs, and what its calls share."""

    def __init__(self, settings: Settings) -> None:
        forking.use_grpc()
        self.engine = Engine(settings)
        self.loop = asyncio.get_running_loop()
        self.process = os.getpid()
        self.under_way = 0
        self.drained = asyncio.Event()
        self.closing = asyncio.Event()
        tls = settings.tls
        self.channels = [
            grpc.aio.insecure_channel(target, channel_options(target, tls))
            if tls is None
            else grpc.aio.secure_channel(target, channel_credentials(tls), channel_options(target, tls))
            for target in settings.targets
        ]
        self._stubs: list[dict[str, Any]] = [{} for _ in settings.targets]

    def stub(self, index: int, method: str) -> Any:
        """Return the stub of a method, as in the blocking client."""
        stub = self._stubs[index].get(method)
        if stub is None:
            stub = self._stubs[index][method] = self.channels[index].unary_unary(method)
        return stub


def _is_of_the_channel(failure: BaseException) -> bool:
    """Return whether gRPC reports a closed channel.

    gRPC raises UsageError, or cancels a task although no caller did.
    """
    if isinstance(failure, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and not task.cancelling()
    return isinstance(failure, grpc.aio.UsageError)


def _failed_last(task: asyncio.Task[bytes]) -> bool:
    """Sort key: of two tasks that ended together, the one with an answer comes first."""
    return task.cancelled() or task.exception() is not None


_left_behind: list[_Connected] = []
"""Connections of other running loops and of the parent process. They cannot be closed here, and this list keeps gRPC's
destructors from trying to."""


def _leave_behind(connected: _Connected) -> None:
    """Keep the connections of another loop until that loop has ended, then close them."""
    _left_behind.append(connected)
    for one in [one for one in _left_behind if one.loop.is_closed() and one.process == os.getpid()]:
        with contextlib.suppress(ValueError):  # another thread has done it
            _left_behind.remove(one)
            for channel in one.channels:
                channel._channel.close()  # the last step of Channel.close(), which first awaits the loop's calls
