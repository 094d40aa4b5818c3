"""The blocking client of model servers: it carries out the decisions of `calls` with gRPC's blocking stubs.

    with Client("localhost:8500", model="cf") as client:
        print(client.recommend(["item-7", "item-12"], k=10).items)

Threads may share a client. A forked child may use the client of its parent and gets its own connections. See `forking`.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar, Unpack, cast

import grpc
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
_FORK_S = 0.5  # for the fork itself, once calls are waited for


class Client:
    """A blocking client of model servers.

    The client connects on the first call, spreads calls over all targets, and retries calls that are safe to repeat.
    Threads may share a client. `aio.Client` has the same methods for asyncio.

    A list of ids may be any iterable of str. Every call raises a ServingError if it fails. InvalidRequest (an argument
    is invalid), NotSupported (the protocol has no such method) and ClientClosed are raised before a request is sent.
    What `featurize` of a protocol raises passes through, and its time counts against the deadline.

    Args:
        targets: `HOST:PORT` of one server, or of several replicas that serve the same models. See `channel`.
        protocol: Protocol of the servers: `TensorFlowServing`, or `OpenInference` for MLServer, Triton and others.
        model: Model to call when a call names none.
        version: Version of `model` to call when a call names none. None calls the latest version.
        version_label: Label to use instead of a version. A call that names another model ignores both.
        timeout_s: Deadline of a whole call in seconds, above 0. It covers encoding and all attempts, but not reading
            the answer.
        retry: When to send a request again. See `retry`.
        hedge: When to send a second request beside a slow one. None disables hedging.
        balance: How to choose a target. See `balancing`.
        tls: Certificates for TLS. None uses plaintext.
        metadata: gRPC metadata of every call.
        history_width: Columns that the history of a request is padded to.
        candidates_width: Columns that rows of candidates are padded to.
        exclude_width: The columns of excluded items are padded to a multiple of this.
        wait_for_ready: Wait until the deadline for a connection that cannot be made at once, instead of failing.
        observers: Objects that receive every attempt and call. See `observing`.
        clock: Monotonic time in seconds.

    Raises:
        ValueError: An argument is out of range, or `version_label` is given and the protocol has no labels.
        TypeError: An argument has the wrong type.
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
        """Close the connections. New calls raise ClientClosed at once.

        A second close() does nothing.

        Args:
            grace_s: Seconds that running calls may take to finish. Then they raise ClientClosed too.
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
        return self._call(self._protocol.predict(asked.spec, inputs, signature, outputs), asked)

    def recommend(
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
        return self._call(operation, asked)

    def recommend_many(
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
        return [] if operation is None else self._call(operation, asked)

    def score_items(
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
        return np.zeros(0, np.float32) if operation is None else self._call(operation, asked)

    def explain(
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
        return self._call(self._protocol.explain(asked.spec, self._widths, history, candidates), asked)

    def metadata(self, **options: Unpack[CallOptions]) -> ModelMetadata:
        """Read the model's signatures: names, dtypes and shapes of inputs and outputs.

        Args:
            **options: See `CallOptions`.

        Raises:
            ServingError: The call failed. NotSupported: the protocol is `OpenInference`.
        """
        asked = self._settings.asked(options)
        return self._call(self._protocol.metadata(asked.spec), asked)

    def status(self, **options: Unpack[CallOptions]) -> list[VersionStatus]:
        """Read the states of the model's versions, newest first, or the state of one version.

        One of several targets answers, for itself. Servers ignore a version label here.

        Args:
            **options: See `CallOptions`.

        Raises:
            ServingError: The call failed. NotSupported: the protocol is `OpenInference`.
        """
        asked = self._settings.asked(options)
        return self._call(self._protocol.status(asked.spec), asked)

    def ready(self, **options: Unpack[CallOptions]) -> bool:
        """Return whether a server reports that the model is ready.

        Some servers report an error for a model that they do not have.

        Args:
            **options: See `CallOptions`.

        Raises:
            ServingError: The call failed. NotSupported: the protocol is TensorFlow Serving, which has `status`.
        """
        asked = self._settings.asked(options)
        return self._call(self._protocol.ready(asked.spec), asked)

    def wait_until_ready(self, timeout_s: float = 60.0, **options: Unpack[ModelOptions]) -> None:
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
                answer = self._call(self._protocol.readiness(asked.spec), question)
            except ServingError as error:
                pause_s = wait.failed(error)
            else:
                reason = self._protocol.unready(answer)
                if not reason:
                    return
                pause_s = wait.unready(reason)
            self._closing.wait(pause_s)

    def reload_config(
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
        self._call(self._protocol.reload_config(config), asked)

    def _call(self, operation: Operation[T], asked: Asked) -> T:
        extra = checked_metadata(asked.metadata) if asked.metadata else ()
        connected = self._connected or self._reconnected()
        settings = self._settings
        wait = settings.wait_for_ready if asked.wait_for_ready is None else asked.wait_for_ready
        with self._lock:
            if self._forking:
                self._wait_for_forks(connected)
            connected.under_way += 1
        try:
            plan = connected.engine.plan(operation, asked.timeout_s, asked.started_at_s)
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
        """Send one request after the other. A blocking call of the stub costs less than half of a future."""
        operation = plan.operation
        while True:
            turn = plan.begin()
            try:
                reply = connected.stub(turn.index, operation.method)(
                    operation.request, timeout=turn.left_s, metadata=metadata, wait_for_ready=wait
                )
            except grpc.RpcError as failure:
                self._pause(self._failed(plan, turn, failure, connected, metadata), plan, turn)
            except ValueError as failure:  # gRPC raises this if the channel was closed
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
        """Send up to two requests at the same time. The first answer wins."""
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
                except grpc.FutureCancelledError as failure:  # only close() cancels it
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
        """Return the seconds until the next request, or raise the error that ends the call."""
        error = plan.noted(turn, failure)
        if plan.unclear(error):
            method, request, left_s = plan.status_request()
            with contextlib.suppress(grpc.RpcError, ValueError):  # then the first error is raised
                reply = connected.stub(turn.index, method)(request, timeout=left_s, metadata=metadata)
                error = plan.looked_into(error, reply)
        delay_s = plan.retry_delay_s(error)
        if delay_s is None:
            raise plan.over(error) from failure
        return delay_s

    def _pause(self, seconds: float, plan: Plan[T], turn: Turn) -> None:
        """Wait for the next attempt. close() ends the wait."""
        if seconds > 0.0 and self._closing.wait(seconds):
            raise plan.over(plan.cancelled(turn.target))

    def _reconnected(self) -> _Connected:
        """Open connections in this process, for a client that was made before a fork."""
        with self._lock:
            if self._connected is None:
                if self._closing.is_set():
                    raise ClientClosed("the client is closed; make another", "", self._settings.model)
                self._connected = _Connected(self._settings)
            return self._connected

    def _fork_begins(self, wait_s: float) -> None:
        """Hold back new calls and wait for the running ones. `forking` calls this before a fork."""
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
        """Let calls begin again. `forking` calls this after a fork."""
        if (
            threading.get_ident() in self._forking
        ):  # otherwise _fork_begins did not get the lock, and it may still be taken
            with self._lock:
                self._forking.pop(threading.get_ident(), None)
                self._lock.notify_all()

    def _wait_for_forks(self, connected: _Connected) -> None:
        """Wait, with the lock held, while other threads fork.

        The wait has a limit, because the end of a fork may go unreported.
        """
        while self._forking and threading.get_ident() not in self._forking and not connected.engine.closed:
            left_s = max(self._forking.values()) - time.monotonic()
            if left_s <= 0.0:  # a signal handler that raises prevents the calls after a fork
                self._forking.clear()
            else:
                self._lock.wait(left_s)

    def _forked(self) -> bool:
        """Drop the parent's locks and connections. `forking` calls this in the child.

        Threads that do not exist in the child may hold the locks.
        """
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
        """Return the stub of a method, which takes and returns bytes.

        One encoding then serves all attempts, and an unreadable answer becomes a BadResponse.
        """
        stub = self._stubs[index].get(method)
        if stub is None:
            stub = self._stubs[index][method] = self.channels[index].unary_unary(method)
        return stub


_parents: list[_Connected | None] = []
"""Connections of the parent process, kept so that they are never closed here. Their sockets belong to the parent."""
