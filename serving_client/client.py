"""The blocking client of a model server: what `calls` decides, carried out with gRPC's blocking stubs.

    with Client("localhost:8500", model="cf") as client:
        print(client.recommend(["item-7", "item-12"], k=10).items)

Threads may share a client. A forked child may go on using one, too: it gets connections of its own; see `forking`.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import grpc
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
_FORK_S = 0.5  # for the fork itself, once calls are waited for


class Client:
    """Asks servers that speak TensorFlow Serving's gRPC protocol; see `aio.Client` for the same with async.

    targets: HOST:PORT of one server, or of replicas that serve the same; see `channel`. model, version,
    version_label: what calls mean that name nothing else; a call that names another model means its latest version.
    timeout_s: seconds for a whole call, above 0: encoding and all attempts; reading the answer is not counted.
    retry, hedge, balance: see their modules; hedge None sends no second request. tls: None for plaintext. metadata:
    sent with every call. history_width, candidates_width, exclude_width: columns that requests are padded to.
    wait_for_ready: whether a call waits, up to its deadline, for a connection that cannot be made at once, rather than
    fail. clock: monotonic seconds.

    Lists of ids may be any iterable of str. Every method raises a ServingError; before anything is sent InvalidRequest
    for arguments that cannot be meant, and ClientClosed after close(). The constructor raises ValueError or TypeError,
    and connects to nothing.
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
        self._lock = threading.Condition()
        self._closing = threading.Event()
        self._connected: _Connected | None = _Connected(self._settings)
        self._forking: dict[int, float] = {}  # by thread: until when its fork holds calls back at most
        forking.watch(self._forked, self._fork_begins, self._fork_ended)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({', '.join(self._settings.targets)}, model={self._settings.model!r})"

    def close(self, grace_s: float = 1.0) -> None:
        """New calls raise ClientClosed at once; those under way may finish for `grace_s` seconds, then they do, too.

        A second close() does no harm.
        """
        self._closing.set()
        connected = self._connected
        if connected is None:
            return
        connected.engine.closed = True
        with self._lock:
            self._lock.notify_all()  # calls that a fork holds back
            self._lock.wait_for(lambda: connected.under_way == 0, grace_s)
        for channel in connected.channels:
            channel.close()

    def predict(
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
        return self._call(operation, timeout_s, wait_for_ready, metadata, started_at_s)

    def recommend(
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
        return self._call(operation, timeout_s, wait_for_ready, metadata, started_at_s)

    def recommend_many(
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
        return self._call(operation, timeout_s, wait_for_ready, metadata, started_at_s)

    def score_items(
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
        return self._call(operation, timeout_s, wait_for_ready, metadata, started_at_s)

    def explain(
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
        return self._call(operation, timeout_s, wait_for_ready, metadata, started_at_s)

    def metadata(
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
        return self._call(operations.metadata(spec), timeout_s, wait_for_ready, metadata)

    def status(
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
        return self._call(operations.status(spec), timeout_s, wait_for_ready, metadata)

    def wait_until_ready(
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
                answer = self._call(wait.question(), wait.timeout_s(), False, metadata)
            except ServingError as error:
                pause_s = wait.failed(error)
            else:
                pause_s = wait.answered(answer)
                if pause_s is None:
                    return
            self._closing.wait(pause_s)

    def reload_config(
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
        self._call(operations.reload_config(config), timeout_s, wait_for_ready, metadata)

    def _call(
        self,
        operation: Operation[T],
        timeout_s: float | None,
        wait_for_ready: bool | None,
        metadata: Metadata | None,
        started_at_s: float | None = None,
    ) -> T:
        extra = checked_metadata(metadata) if metadata else ()
        connected = self._connected or self._reconnected()
        settings = self._settings
        wait = settings.wait_for_ready if wait_for_ready is None else wait_for_ready
        with self._lock:
            if self._forking:
                self._wait_for_forks(connected)
            connected.under_way += 1
        try:
            plan = connected.engine.plan(operation, timeout_s, started_at_s)
            sent = settings.metadata or None
            if extra or plan.metadata:
                sent = (*(sent or ()), *extra, *plan.metadata)
            try:
                if settings.hedge is not None and operation.repeatable:
                    return self._hedged(plan, connected, sent, wait)
                return self._plain(plan, connected, sent, wait)
            except ServingError:
                raise
            except BaseException:  # KeyboardInterrupt, metadata that gRPC refuses
                plan.abandoned()
                raise
        finally:
            with self._lock:
                connected.under_way -= 1
                if connected.engine.closed or self._forking:
                    self._lock.notify_all()

    def _plain(self, plan: Plan[T], connected: _Connected, metadata: Metadata | None, wait: bool) -> T:
        """One request after the other: a blocking call of the stub costs less than half of a future."""
        operation = plan.operation
        while True:
            turn = plan.begin()
            try:
                reply = connected.stub(turn.index, operation.method)(
                    operation.request, timeout=turn.left_s, metadata=metadata, wait_for_ready=wait
                )
            except grpc.RpcError as failure:
                self._pause(self._failed(plan, turn, failure, connected, metadata), plan, turn)
            except ValueError as failure:  # that is how gRPC says that the channel was closed
                plan.lost(turn)
                if connected.engine.closed:
                    raise plan.over(plan.cancelled(turn.target)) from failure
                raise
            except BaseException:
                plan.lost(turn)
                raise
            else:
                return plan.succeeded(turn, reply)

    def _hedged(self, plan: Plan[T], connected: _Connected, metadata: Metadata | None, wait: bool) -> T:
        """Up to two requests beside each other; the first answer wins."""
        operation = plan.operation
        done: queue.SimpleQueue[Turn] = queue.SimpleQueue()
        running: dict[Turn, Any] = {}

        def send(hedged: bool) -> None:
            turn = plan.begin(hedged)
            try:
                future = connected.stub(turn.index, operation.method).future(
                    operation.request, timeout=turn.left_s, metadata=metadata, wait_for_ready=wait
                )
            except ValueError as failure:
                plan.lost(turn)
                if connected.engine.closed:
                    raise plan.over(plan.cancelled(turn.target)) from failure
                raise
            running[turn] = future
            future.add_done_callback(lambda _: done.put(turn))

        try:
            send(False)
            hedge_s = plan.hedge_after_s()
            while True:
                try:
                    turn = done.get(timeout=hedge_s)
                except queue.Empty:
                    hedge_s = None
                    if plan.may_hedge():
                        send(True)
                    continue
                future = running.pop(turn)
                try:
                    reply = future.result()
                except grpc.FutureCancelledError as failure:  # by close(), nobody else has it
                    plan.lost(turn)
                    raise plan.over(plan.cancelled(turn.target)) from failure
                except grpc.RpcError as failure:
                    if running:  # the other one may still answer
                        plan.noted(turn, failure)
                        hedge_s = None
                        continue
                    self._pause(self._failed(plan, turn, failure, connected, metadata), plan, turn)
                    send(False)
                    hedge_s = plan.hedge_after_s()
                else:
                    return plan.succeeded(turn, reply)
        finally:
            for turn, future in running.items():
                future.cancel()
                plan.lost(turn)

    def _failed(
        self, plan: Plan[T], turn: Turn, failure: grpc.RpcError, connected: _Connected, metadata: Metadata | None
    ) -> float:
        """Seconds until the next request; raises the error that the call ends with."""
        error = plan.noted(turn, failure)
        if plan.unclear(error):
            method, request, left_s = plan.status_request()
            with contextlib.suppress(grpc.RpcError, ValueError):  # then the first error is all there is to say
                reply = connected.stub(turn.index, method)(request, timeout=left_s, metadata=metadata)
                error = plan.looked_into(error, reply)
        delay_s = plan.retry_delay_s(error)
        if delay_s is None:
            raise plan.over(error) from failure
        return delay_s

    def _pause(self, seconds: float, plan: Plan[T], turn: Turn) -> None:
        """Waits for the next attempt; close() ends it."""
        if seconds > 0.0 and self._closing.wait(seconds):
            raise plan.over(plan.cancelled(turn.target))

    def _reconnected(self) -> _Connected:
        """Connections of this process, for a client that came here by a fork."""
        with self._lock:
            if self._connected is None:
                if self._closing.is_set():
                    raise ClientClosed("the client is closed; make another", "", self._settings.model)
                self._connected = _Connected(self._settings)
            return self._connected

    def _fork_begins(self, wait_s: float) -> None:
        """For `forking`: holds new calls back, and waits for those under way."""
        until_s = time.monotonic() + wait_s
        if self._lock.acquire(timeout=wait_s):
            try:
                self._forking[threading.get_ident()] = until_s + _FORK_S
                connected = self._connected
                if connected is not None:
                    self._lock.wait_for(lambda: connected.under_way == 0, until_s - time.monotonic())
            finally:
                self._lock.release()

    def _fork_ended(self) -> None:
        """For `forking`: lets calls begin again."""
        if threading.get_ident() in self._forking:  # else the lock was not to be had, and may not be now
            with self._lock:
                self._forking.pop(threading.get_ident(), None)
                self._lock.notify_all()

    def _wait_for_forks(self, connected: _Connected) -> None:
        """Waits, with the lock held, while other threads fork; by the clock at most, since an end may go untold."""
        while self._forking and threading.get_ident() not in self._forking and not connected.engine.closed:
            left_s = max(self._forking.values()) - time.monotonic()
            if left_s <= 0.0:  # a signal's handler that raises ends Python's calls around a fork
                self._forking.clear()
            else:
                self._lock.wait(left_s)

    def _forked(self) -> bool:
        """For `forking`: locks may be held by threads that are not here, and connections are the parent's."""
        connected, closed = self._connected, self._closing.is_set()
        self._lock, self._closing, self._connected = threading.Condition(), threading.Event(), None
        self._forking = {}
        if closed:
            self._closing.set()
        _parents.append(connected)
        return connected is not None and connected.under_way > 0


class _Connected:
    """The channels of a client in one process, their stubs, and what its calls share."""

    def __init__(self, settings: Settings) -> None:
        forking.use_grpc()
        self.engine = Engine(settings)
        self.under_way = 0
        tls = settings.tls
        self.channels = [
            grpc.insecure_channel(target, channel_options(target, tls))
            if tls is None
            else grpc.secure_channel(target, channel_credentials(tls), channel_options(target, tls))
            for target in settings.targets
        ]
        self._stubs: list[dict[str, Any]] = [{} for _ in settings.targets]

    def stub(self, index: int, method: str) -> Any:
        """Takes and gives bytes: encoding once serves all attempts, and an unreadable answer is ours to name."""
        stub = self._stubs[index].get(method)
        if stub is None:
            stub = self._stubs[index][method] = self.channels[index].unary_unary(method)
        return stub


_parents: list[_Connected | None] = []
"""Connections of the process that this one was forked from: never closed here, for their sockets are the parent's."""
