"""The asynchronous client of a model server: what `calls` decides, carried out with grpc.aio on the running loop.

    async with aio.Client("localhost:8500", model="cf") as client:
        print((await client.recommend(["item-7", "item-12"], k=10)).items)

Tasks of one loop may share a client. Cancelling a task cancels its request at the server, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import grpc
import grpc.aio
import numpy as np
import numpy.typing as npt

from serving_client import forking, operations
from serving_client.balancing import Balance
from serving_client.calls import Engine, Metadata, Plan, Settings, Turn, checked_metadata
from serving_client.channel import channel_options, target_list
from serving_client.contracts import signatures as contract
from serving_client.credentials import Tls, channel_credentials
from serving_client.errors import ClientClosed, ServingError
from serving_client.hedging import Hedge
from serving_client.observing import Observer
from serving_client.operations import Operation
from serving_client.results import ModelMetadata, Prediction, Recommendation, VersionStatus
from serving_client.retry import Retry

__all__ = ["Client"]

T = TypeVar("T")

_RETRY = Retry()
_BALANCE = Balance()


class Client:
    """`serving_client.Client` with async methods: same arguments, results and errors.

    It connects on the loop that makes the first call. On another loop (a second asyncio.run) it makes
    connections anew, and lets go of the old ones. Close it before the process forks; see `forking`.
    """

    def __init__(
        self,
        targets: str | Sequence[str],
        *,
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
        """New calls raise ClientClosed at once; those under way may finish for `grace_s` seconds, then they do, too.

        A second close() does no harm.
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
        model: str | None = None,
        version: int | None = None,
        version_label: str | None = None,
        timeout_s: float | None = None,
        wait_for_ready: bool | None = None,
        metadata: Metadata | None = None,
    ) -> Prediction:
        """Any signature with any tensors; `outputs` names those wanted, () stands for all.

        inputs: by name, whatever `codec.write_tensor` takes: arrays, numbers, text, lists of them.
        """
        started_at_s, spec = self._settings.clock(), self._settings.spec(model, version, version_label)
        operation = operations.predict(spec, inputs, signature, outputs)
        return await self._call(operation, timeout_s, wait_for_ready, metadata, started_at_s)

    async def recommend(
        self,
        history: Sequence[str],
        *,
        exclude: Sequence[str] = (),
        k: int | None = None,
        model: str | None = None,
        version: int | None = None,
        version_label: str | None = None,
        timeout_s: float | None = None,
        wait_for_ready: bool | None = None,
        metadata: Metadata | None = None,
    ) -> Recommendation:
        """The best items for a history, oldest first: at most k, fewer where the model has no more.

        None of `history` or of `exclude`, however long: of a history longer than history_width the newest are sent as
        such, the others beside `exclude`, for which the model needs its signature `filtered`.
        """
        started_at_s, spec = self._settings.clock(), self._settings.spec(model, version, version_label)
        operation = operations.recommend(spec, self._widths, history, exclude, k)
        return await self._call(operation, timeout_s, wait_for_ready, metadata, started_at_s)

    async def recommend_many(
        self,
        histories: Sequence[Sequence[str]],
        *,
        excludes: Sequence[Sequence[str]] | None = None,
        k: int | None = None,
        model: str | None = None,
        version: int | None = None,
        version_label: str | None = None,
        timeout_s: float | None = None,
        wait_for_ready: bool | None = None,
        metadata: Metadata | None = None,
    ) -> list[Recommendation]:
        """The same for many histories in one request; excludes: one list for each. No history, no request."""
        started_at_s, spec = self._settings.clock(), self._settings.spec(model, version, version_label)
        histories, excludes = operations.batch(histories, excludes)
        if not histories:
            return []
        operation = operations.recommend_many(spec, self._widths, histories, excludes, k)
        return await self._call(operation, timeout_s, wait_for_ready, metadata, started_at_s)

    async def score_items(
        self,
        history: Sequence[str],
        candidates: Sequence[str],
        *,
        model: str | None = None,
        version: int | None = None,
        version_label: str | None = None,
        timeout_s: float | None = None,
        wait_for_ready: bool | None = None,
        metadata: Metadata | None = None,
    ) -> npt.NDArray[np.float32]:
        """The score of each candidate, float32 [m]; -inf for one that the model does not know."""
        started_at_s, spec = self._settings.clock(), self._settings.spec(model, version, version_label)
        operation = operations.score_items(spec, self._widths, history, candidates)
        return await self._call(operation, timeout_s, wait_for_ready, metadata, started_at_s)

    async def explain(
        self,
        history: Sequence[str],
        candidates: Sequence[str],
        *,
        model: str | None = None,
        version: int | None = None,
        version_label: str | None = None,
        timeout_s: float | None = None,
        wait_for_ready: bool | None = None,
        metadata: Metadata | None = None,
    ) -> npt.NDArray[np.float32]:
        """What each item of the history adds to each score, float32 [m, n]; n: the ids sent, in their order.

        Those are the newest history_width. Raises NotSupported where the model has no such signature.
        """
        started_at_s, spec = self._settings.clock(), self._settings.spec(model, version, version_label)
        operation = operations.explain(spec, self._widths, history, candidates)
        return await self._call(operation, timeout_s, wait_for_ready, metadata, started_at_s)

    async def metadata(
        self,
        *,
        model: str | None = None,
        version: int | None = None,
        version_label: str | None = None,
        timeout_s: float | None = None,
        wait_for_ready: bool | None = None,
        metadata: Metadata | None = None,
    ) -> ModelMetadata:
        """The signatures of the model, with names, dtypes and shapes of what goes in and comes out."""
        spec = self._settings.spec(model, version, version_label)
        return await self._call(operations.metadata(spec), timeout_s, wait_for_ready, metadata)

    async def status(
        self,
        *,
        model: str | None = None,
        version: int | None = None,
        version_label: str | None = None,
        timeout_s: float | None = None,
        wait_for_ready: bool | None = None,
        metadata: Metadata | None = None,
    ) -> list[VersionStatus]:
        """The versions that a server tracks, newest first, or the one that is named; servers pass over a label.

        With several targets one of them answers, for itself.
        """
        spec = self._settings.spec(model, version, version_label)
        return await self._call(operations.status(spec), timeout_s, wait_for_ready, metadata)

    async def wait_until_ready(
        self,
        timeout_s: float = 60.0,
        *,
        model: str | None = None,
        version: int | None = None,
        version_label: str | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        """Returns as soon as a target serves the model, or the version or label; the model need not be known before.

        Asks until then. Raises DeadlineExceeded with the last thing heard, and errors that waiting does not mend.
        """
        wait = operations.Wait(self._settings.spec(model, version, version_label), timeout_s, self._settings.clock)
        while True:
            pause_s: float | None
            try:
                answer = await self._call(wait.question(), wait.timeout_s(), False, metadata)
            except ServingError as error:
                pause_s = wait.failed(error)
            else:
                pause_s = wait.answered(answer)
                if pause_s is None:
                    return
            await asyncio.sleep(pause_s)

    async def reload_config(
        self,
        config: str,
        *,
        timeout_s: float = 60.0,
        wait_for_ready: bool | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        """Replaces what the server serves by a ModelServerConfig in text form: models not in it are unloaded.

        Sent once, to one target: with several targets make a client for each. The server answers when new models
        are loaded.
        """
        await self._call(operations.reload_config(config), timeout_s, wait_for_ready, metadata)

    async def _call(
        self,
        operation: Operation[T],
        timeout_s: float | None,
        wait_for_ready: bool | None,
        metadata: Metadata | None,
        started_at_s: float | None = None,
    ) -> T:
        extra = checked_metadata(metadata) if metadata else ()
        connected = self._connected
        if connected is None or connected.loop is not asyncio.get_running_loop():
            connected = self._reconnected()
        plan = connected.engine.plan(operation, timeout_s, started_at_s)
        settings = self._settings
        sent = settings.metadata or None
        if extra or plan.metadata:
            sent = (*(sent or ()), *extra, *plan.metadata)
        wait = settings.wait_for_ready if wait_for_ready is None else wait_for_ready
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
        """One request after the other."""
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
        """Up to two requests beside each other; the first answer wins."""
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
        """Seconds until the next request; raises the error that the call ends with."""
        error = plan.noted(turn, failure)
        if plan.unclear(error):
            method, request, left_s = plan.status_request()
            with contextlib.suppress(grpc.RpcError):  # then the first error is all there is to say
                reply = await connected.stub(turn.index, method)(request, timeout=left_s, metadata=metadata)
                error = plan.looked_into(error, reply)
        delay_s = plan.retry_delay_s(error)
        if delay_s is None:
            raise plan.over(error) from failure
        return delay_s

    async def _pause(self, seconds: float, plan: Plan[T], connected: _Connected, turn: Turn) -> None:
        """Waits for the next attempt; close() ends it."""
        if seconds > 0.0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(connected.closing.wait(), seconds)
                raise plan.over(plan.cancelled(turn.target))

    def _reconnected(self) -> _Connected:
        """Connections on the running loop, for a client that has none there."""
        if self._connected is not None:
            _leave_behind(self._connected)
            self._connected = None
        if self._closed:
            raise ClientClosed("the client is closed; make another", "", self._settings.model)
        self._connected = _Connected(self._settings)
        return self._connected

    def _forked(self) -> bool:
        """For `forking`: the connections are the parent's, and so is its loop."""
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
        """Takes and gives bytes, as the blocking client's."""
        stub = self._stubs[index].get(method)
        if stub is None:
            stub = self._stubs[index][method] = self.channels[index].unary_unary(method)
        return stub


def _is_of_the_channel(failure: BaseException) -> bool:
    """Whether gRPC speaks of a closed channel: by UsageError, or by a cancellation that nobody asked the task for."""
    if isinstance(failure, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and not task.cancelling()
    return isinstance(failure, grpc.aio.UsageError)


def _failed_last(task: asyncio.Task[bytes]) -> bool:
    """Of two that ended at once the one with an answer goes first."""
    return task.cancelled() or task.exception() is not None


_left_behind: list[_Connected] = []
"""Connections of other loops that go on, and of the parent process: they cannot be closed from here, and gRPC's
destructors must not try."""


def _leave_behind(connected: _Connected) -> None:
    """Keeps connections of another loop until that is over; then nobody is in their way, and they are closed."""
    _left_behind.append(connected)
    for one in [one for one in _left_behind if one.loop.is_closed() and one.process == os.getpid()]:
        with contextlib.suppress(ValueError):  # another thread has done it
            _left_behind.remove(one)
            for channel in one.channels:
                channel._channel.close()  # what Channel.close() ends with, which first awaits calls of the loop
