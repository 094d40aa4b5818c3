"""The decisions of a call: which target to ask, for how long, whether to ask again, and which error to raise.

A Plan is one call. An Engine holds what the calls of a client share. Neither sends, waits nor sleeps. A shell (`client`
or `aio`) does that and reports back:

    plan = engine.plan(operation, timeout_s)
    turn = plan.begin()                     the shell sends plan.operation.request to turn.target, for turn.left_s
    plan.succeeded(turn, reply)             the result; or
    error = plan.noted(turn, rpc_error)     and, if plan.unclear(error), plan.looked_into(error, status reply)
    plan.retry_delay_s(error)               seconds to wait before the next begin(), None: raise plan.over(error)

    plan.hedge_after_s()                    seconds after which a second request may go out beside the first
    plan.lost(turn)                         a request was cancelled: the slower one of a hedge, or the caller went away
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import random
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar

import grpc
from google.protobuf.message import DecodeError

from serving_client import operations
from serving_client.balancing import Balance, Endpoints, is_failure, is_unfinished
from serving_client.channel import target_list
from serving_client.contracts import signatures as contract
from serving_client.credentials import Tls
from serving_client.deadline import LONGEST_TIMEOUT_S, Deadline, checked_timeout_s
from serving_client.errors import (
    BadResponse,
    Cancelled,
    ClientClosed,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    NotReady,
    ServingError,
    Unavailable,
    from_rpc,
)
from serving_client.hedging import Hedge, HedgeBudget, HedgeDelay
from serving_client.observing import Attempt, Call, Observer, start_call, tell_attempt, tell_call
from serving_client.operations import Operation, Origin, Spec, Widths
from serving_client.results import VersionStatus
from serving_client.retry import Retry, RetryBudget, retry_delay_s
from serving_client.server_protocol import TENSORFLOW_SERVING, ServerProtocol

__all__ = [
    "NO_MODEL",
    "Asked",
    "CallOptions",
    "Engine",
    "Metadata",
    "ModelOptions",
    "Plan",
    "Settings",
    "Turn",
    "checked_metadata",
]

T = TypeVar("T")

Metadata = Sequence[tuple[str, str | bytes]]
"""Pairs of key and value sent with a call. Keys are lower case. Values are ASCII, or bytes if the key ends in -bin."""

NO_MODEL = Spec("", None, None)
"""The spec of a call that concerns the server and not a model."""
LONGEST_LOOK_S = 0.05
"""Longest pause in seconds between two checks for a connected target: short compared with a restart, and long compared
with a check, which takes 0.1 ms."""
_UNSENT = ("UNAVAILABLE: failed to connect to all addresses", "UNAVAILABLE: DNS resolution failed")
"""Start of the message for a request that never left the client: gRPC core's text as errors.from_status has it."""
_KEY, _VALUE = re.compile(r"[0-9a-z_.-]+"), re.compile(r"[ -~]*")
_LOADING = ("START", "LOADING")
_LOST = Cancelled("cancelled before the answer")
_call_ids = itertools.count(1)


class ModelOptions(TypedDict, total=False):
    """Options of every call about a model, all optional. None has the same effect as leaving the option out.

    Args:
        model: Model to call. Without it the client's model is called.
        version: Version to call. Without it the client's version is called, or the latest version of another model.
        version_label: Label to use instead of a version. NotSupported under `OpenInference`.
        metadata: gRPC metadata, sent after the client's.
    """

    model: str | None
    version: int | None
    version_label: str | None
    metadata: Metadata | None


class CallOptions(ModelOptions, total=False):
    """`ModelOptions` and the time that a call may take, all optional.

    Args:
        timeout_s: Deadline of the whole call in seconds. Without it the client's is used.
        wait_for_ready: Whether to wait for a connection until the deadline. Without it the client's setting is used.
    """

    timeout_s: float | None
    wait_for_ready: bool | None


class Asked(NamedTuple):
    """The options of one call, checked, and the time of the client's clock at which the call started."""

    spec: Spec
    timeout_s: float | None
    wait_for_ready: bool | None
    metadata: Metadata | None
    started_at_s: float | None = None


def checked_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> tuple[tuple[str, str | bytes], ...]:
    """Return the metadata as pairs.

    Raises:
        InvalidRequest: gRPC would refuse the metadata during a call. The message holds no value, which may be a token.
    """
    if isinstance(metadata, str | bytes | Mapping) or not isinstance(metadata, Iterable):
        raise InvalidRequest(f"metadata is {type(metadata).__name__}, not a list of pairs; write [(key, value)]")
    pairs = tuple(metadata)
    for place, pair in enumerate(pairs):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InvalidRequest(f"metadata[{place}] is {type(pair).__name__}, not a pair of key and value")
        key, value = pair
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise InvalidRequest(f"metadata[{place}] has the key {key!a:.40}; use only 0-9 a-z _ . and -")
        if (
            not isinstance(value, bytes)
            if key.endswith("-bin")
            else not (isinstance(value, str) and _VALUE.fullmatch(value))
        ):
            rule = "pass bytes for a key in -bin" if key.endswith("-bin") else "pass text of printable ASCII"
            raise InvalidRequest(f"metadata[{place}], {key}, has an invalid value; {rule}")
    return pairs


@dataclasses.dataclass(frozen=True)
class Settings:
    """The arguments of a client, checked.

    Raises:
        ValueError: An argument is out of range.
        TypeError: An argument has the wrong type.
    """

    targets: tuple[str, ...]
    protocol: ServerProtocol = TENSORFLOW_SERVING
    model: str = ""
    version: int | None = None
    version_label: str | None = None
    timeout_s: float = 1.0
    retry: Retry = dataclasses.field(default_factory=Retry)
    hedge: Hedge | None = None
    balance: Balance = dataclasses.field(default_factory=Balance)
    tls: Tls | None = None
    metadata: Metadata = dataclasses.field(default=(), repr=False)  # tokens
    history_width: int = contract.HISTORY_WIDTH
    candidates_width: int = contract.CANDIDATES_WIDTH
    exclude_width: int = contract.EXCLUDE_WIDTH
    wait_for_ready: bool = False
    observers: tuple[Observer, ...] = ()
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", target_list(self.targets))
        object.__setattr__(self, "observers", tuple(self.observers))
        if self.version is not None and self.version_label is not None:
            raise ValueError(
                f"version={self.version} and version_label={self.version_label!r} are both given; pass one"
            )
        protocol: object = self.protocol
        if not isinstance(protocol, ServerProtocol):
            raise TypeError(f"protocol is {type(protocol).__name__}; pass TensorFlowServing() or OpenInference()")
        if self.version_label is not None and not self.protocol.labels:
            raise ValueError(f"version_label is {self.version_label!r}; {self.protocol.name} has no labels")
        checked_timeout_s(self.timeout_s)
        try:
            object.__setattr__(self, "metadata", checked_metadata(self.metadata))
            if self.model:
                operations.checked(self.default_spec)
        except InvalidRequest as error:
            raise ValueError(error.message) from None
        for name in ("history_width", "candidates_width", "exclude_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def widths(self) -> Widths:
        """Columns of requests."""
        return Widths(self.history_width, self.candidates_width, self.exclude_width)

    @functools.cached_property
    def default_spec(self) -> Spec:
        """The model of calls that name none."""
        return Spec(self.model, self.version, self.version_label)

    def asked(self, options: CallOptions, known: type[Any] = CallOptions) -> Asked:
        """Check the options of a call that starts now.

        Args:
            options: Options that the caller gave.
            known: TypedDict of the options that the method takes.

        Raises:
            TypeError: The method takes no such option.
            NotSupported: A label is given and the protocol has none.
            InvalidRequest: The model, version or label is invalid.
        """
        started_at_s = self.clock()  # before the request is built, because that time counts against the deadline
        if not options:
            spec = self.default_spec if self.model else operations.checked(self.default_spec)
            return Asked(spec, None, None, None, started_at_s)
        unknown = options.keys() - known.__annotations__.keys()
        if unknown:
            names = ", ".join(known.__annotations__)
            raise TypeError(f"{min(unknown)!r} is not an option of this call; the options are {names}")
        label = options.get("version_label")
        if label is not None and not self.protocol.labels:
            raise self.protocol.lacks("version_label=", "pass version=")
        spec = self.spec(options.get("model"), options.get("version"), label)
        waits, metadata = options.get("wait_for_ready"), options.get("metadata")
        return Asked(spec, options.get("timeout_s"), waits, metadata, started_at_s)

    def spec(self, model: str | None, version: int | None, version_label: str | None) -> Spec:
        """Return the model of a call. Its own model, version or label takes precedence over the client's."""
        if model is None and version is None and version_label is None:
            return self.default_spec if self.model else operations.checked(self.default_spec)
        if version is None and version_label is None and (model is None or model == self.model):
            version, version_label = self.version, self.version_label
        return operations.checked(Spec(self.model if model is None else model, version, version_label))


@dataclasses.dataclass(slots=True, eq=False)
class Turn:
    """One request to one target. `left_s` is its deadline."""

    index: int
    target: str
    number: int
    hedged: bool
    started_at_s: float
    left_s: float


class Engine:
    """What all calls of a client share: load and health of the targets, budgets of retries and hedges. Thread-safe.

    Args:
        settings: Arguments of the client.
        draw: Random numbers for the jitter of retries, uniform in [0, 1).
    """

    def __init__(self, settings: Settings, draw: Callable[[], float] = random.random) -> None:
        self.settings = settings
        self.draw = draw
        self.clock = settings.clock
        self.targets = settings.targets
        self.observers = settings.observers
        # With one target there is nothing to choose, and counting its load would only cost time.
        self.endpoints = (
            Endpoints(len(settings.targets), settings.balance, settings.clock) if len(settings.targets) > 1 else None
        )
        self.retry = settings.retry
        self.retry_budget = RetryBudget(settings.retry)
        self.hedge_budget = HedgeBudget(settings.hedge) if settings.hedge else None
        self.hedge_delay = HedgeDelay(settings.hedge, len(settings.targets)) if settings.hedge else None
        self.closed = False

    def plan(self, operation: Operation[T], timeout_s: float | None, started_at_s: float | None = None) -> Plan[T]:
        """Begin a call.

        Args:
            operation: What to send.
            timeout_s: Deadline in seconds. None uses the client's.
            started_at_s: Time of the clock at which the call started. None starts it now.

        Raises:
            ClientClosed: The client is closed.
            ValueError: The timeout is not a number of seconds.
        """
        if self.closed:
            raise ClientClosed("the client is closed; make a new one", "", operation.spec.model, operation.spec.version)
        if timeout_s is None:
            timeout_s = self.settings.timeout_s
        elif not timeout_s <= LONGEST_TIMEOUT_S:  # NaN compares false
            raise ValueError(f"timeout_s must be at most {LONGEST_TIMEOUT_S:g} seconds, got {timeout_s}")
        return Plan(self, operation, timeout_s, started_at_s)


class Plan(Generic[T]):
    """The decisions of one call, as the module describes. One thread or task at a time uses it."""

    __slots__ = (
        *("_asked", "_code", "_deadline", "_engine", "_looked", "_over", "_started_at_s", "_unsent", "_unsent_at_s"),
        *("attempts", "hedged", "id", "metadata", "operation"),
    )

    def __init__(self, engine: Engine, operation: Operation[T], timeout_s: float, started_at_s: float | None) -> None:
        self._engine = engine
        self._started_at_s = engine.clock() if started_at_s is None else started_at_s
        self._deadline = Deadline(max(0.0, timeout_s), engine.clock, self._started_at_s)
        self._asked: list[int] = []
        self._over = False
        self._unsent = False
        self._unsent_at_s: float | None = None
        self._looked = 0
        self._code = "OK"
        self.operation = operation
        self.attempts = 0
        self.hedged = False
        self.id = 0
        self.metadata: list[tuple[str, str]] = []
        if engine.observers:
            self.id = next(_call_ids)
            self.metadata = start_call(engine.observers, self.id, self._method, operation.spec.model)
        engine.retry_budget.deposit()
        if engine.hedge_budget is not None:
            engine.hedge_budget.deposit()

    def begin(self, hedged: bool = False) -> Turn:
        """Begin the next request.

        Raises:
            DeadlineExceeded: No time is left.
        """
        left_s = self._deadline.left_s()
        if left_s <= 0.0:
            timeout_s = self._deadline.timeout_s
            self._code = "DEADLINE_EXCEEDED"
            raise self.over(
                self._error(
                    DeadlineExceeded,
                    f"the deadline of {timeout_s:g} s passed before a request was sent; raise timeout_s",
                )
            )
        engine = self._engine
        index = 0
        if engine.endpoints is not None:
            index = engine.endpoints.pick(self._asked)
            engine.endpoints.begin(index)
            self._asked.append(index)
        self.attempts += 1
        self.hedged = self.hedged or hedged
        return Turn(index, engine.targets[index], self.attempts, hedged, engine.clock(), left_s)

    def succeeded(self, turn: Turn, reply: bytes) -> T:
        """Read the answer and return the result.

        Raises:
            BadResponse: The answer cannot be read.
        """
        seconds = self._engine.clock() - turn.started_at_s  # without the time to read the answer
        failure: ServingError
        try:
            result = self.operation.read(reply, Origin(turn.target, self.attempts))
        except ServingError as error:
            failure = error
        except (DecodeError, ValueError) as error:  # UnicodeDecodeError and CodecError are ValueErrors
            failure = self._error(BadResponse, f"the answer cannot be read: {error}", turn.target)
            failure.__cause__ = error
        else:
            self._finish(turn, "OK", seconds, None)
            self._end("", turn.target, getattr(result, "version", self.operation.spec.version))
            return result
        self._finish(turn, "OK", seconds, failure)
        raise self.over(failure)

    def noted(self, turn: Turn, error: grpc.RpcError) -> ServingError:
        """Record a failed request and return its typed error. The call may go on."""
        spec = self.operation.spec
        found = from_rpc(
            error, target=turn.target, model=spec.model, version=spec.version, attempts=self.attempts
        )  # fmt: skip
        if self._engine.closed and isinstance(found, Cancelled):  # "Channel closed!"
            found = self.cancelled(turn.target)
        found.__cause__ = error
        code = error.code() if callable(getattr(error, "code", None)) else None  # AioRpcError is not a grpc.Call
        self._code = code.name if code is not None else "UNKNOWN"
        self._unsent = isinstance(found, Unavailable) and found.message.startswith(_UNSENT)
        self._finish(turn, self._code, self._engine.clock() - turn.started_at_s, found)
        return found

    def unclear(self, error: ServingError) -> bool:
        """Return whether to ask the same target for GetModelStatus, because the model may still be loading.

        The question counts as a retry. It is not asked for a label: the status does not support labels, and the error
        already names the label's version.
        """
        labelled = self.operation.spec.version_label is not None
        asks = self.operation.look_into_not_found and self._code == "NOT_FOUND" and isinstance(error, NotFound)
        return asks and not labelled and self._engine.retry_budget.withdraw()

    def status_request(self) -> tuple[str, bytes, float]:
        """Return path, bytes and seconds left of that question."""
        asked = operations.status(self.operation.spec)
        return asked.method, asked.request, self._deadline.left_s()

    def looked_into(self, error: ServingError, reply: bytes) -> ServingError:
        """Return the error after a look at the status: NotReady if the version is loading or was loaded just now."""
        try:
            rows = operations.status(self.operation.spec).read(reply, Origin(error.target, self.attempts))
        except (DecodeError, ValueError):
            return error
        refined = _refined(error, rows)
        refined.__cause__ = error.__cause__
        return refined

    def retry_delay_s(self, error: ServingError) -> float | None:
        """Return the seconds to wait before the next begin(). None ends the call with this error."""
        engine = self._engine
        elsewhere = engine.endpoints is not None and len(set(self._asked)) < len(engine.targets)
        left_s = self._deadline.left_s()
        if self._unsent and engine.endpoints is not None and self.operation.repeatable and not engine.closed:
            return 0.0 if elsewhere and left_s > 0.0 else self._reconnect_delay_s(left_s)
        if isinstance(error, NotReady) and self._code == "NOT_FOUND" and elsewhere:
            delay_s = 0.0 if self.attempts < engine.retry.attempts and left_s > 0.0 else None
        else:
            # The caller did not cancel. A server that shuts down answers CANCELLED to requests that it has not begun.
            judged = Unavailable(error.message) if isinstance(error, Cancelled) else error
            delay_s = retry_delay_s(
                engine.retry,
                self.attempts,
                judged,
                left_s,
                engine.draw(),
                elsewhere=elsewhere,
                idempotent=self.operation.repeatable,
            )
        if delay_s is None or engine.closed or not engine.retry_budget.withdraw():
            return None
        return delay_s

    def _reconnect_delay_s(self, left_s: float) -> float | None:
        """Return the seconds until the next look for a connection, after an attempt that was not sent."""
        engine, now = self._engine, self._engine.clock()
        if self._unsent_at_s is None:
            self._unsent_at_s = now
        del self._asked[:-1]  # the others in turn, the ejected among them
        ceiling_s = min(LONGEST_LOOK_S, engine.retry.first_delay_s * 2.0 ** min(self._looked, 64))
        delay_s = (0.5 + 0.5 * engine.draw()) * ceiling_s
        self._looked += 1
        if now - self._unsent_at_s + delay_s > engine.retry.reconnect_s or delay_s >= left_s:
            return None
        return delay_s

    def hedge_after_s(self) -> float | None:
        """Return the seconds until a second request is due, or None for no second request."""
        delay = self._engine.hedge_delay
        if delay is None or self.hedged or not self.operation.repeatable:
            return None
        after_s = delay.delay_s()
        return after_s if after_s is not None and after_s < self._deadline.left_s() else None

    def may_hedge(self) -> bool:
        """Return whether the budget allows the second request now."""
        budget = self._engine.hedge_budget
        return budget is not None and not self._engine.closed and self._deadline.left_s() > 0.0 and budget.withdraw()

    def lost(self, turn: Turn) -> None:
        """Record a request that was cancelled, because the other one of a hedge was faster or the caller went away."""
        self._finish(turn, "CANCELLED", self._engine.clock() - turn.started_at_s, _LOST)

    def cancelled(self, target: str) -> ServingError:
        """Return the error of a request that ended because the channel was closed."""
        self._code = "CANCELLED"
        if self._engine.closed:
            return self._error(ClientClosed, "the client was closed during the call", target)
        return self._error(Cancelled, "the call was cancelled", target)

    def over(self, error: ServingError) -> ServingError:
        """Report to the observers that the call ended with this error, and return the error."""
        self._end(type(error).__name__, error.target, self.operation.spec.version)
        return error

    def abandoned(self) -> None:
        """Report to the observers, once, that the caller went away (KeyboardInterrupt, a cancelled task)."""
        self._code = "CANCELLED"
        self._end("Cancelled", "", self.operation.spec.version)

    @property
    def _method(self) -> str:
        return self.operation.method.rpartition("/")[2]

    def _error(self, kind: type[ServingError], message: str, target: str = "") -> ServingError:
        spec = self.operation.spec
        return kind(message, target, spec.model, spec.version, self.attempts)

    def _finish(self, turn: Turn, code: str, seconds: float, error: ServingError | None) -> None:
        engine = self._engine
        unfinished = is_unfinished(error)
        if engine.endpoints is not None:
            engine.endpoints.finish(turn.index, seconds, is_failure(error), unfinished=unfinished)
        if engine.hedge_delay is not None and (error is None or unfinished):
            engine.hedge_delay.observe(turn.index, seconds)
        if engine.observers:
            spec = self.operation.spec
            attempt = Attempt(
                method=self._method,
                model=spec.model,
                version=spec.version,
                target=turn.target,
                code=code,
                seconds=seconds,
                number=turn.number,
                hedged=turn.hedged,
                call_id=self.id,
            )
            tell_attempt(engine.observers, attempt)

    def _end(self, error: str, target: str, version: int | None) -> None:
        engine = self._engine
        if self._over or not engine.observers:
            return
        self._over = True
        call = Call(
            method=self._method,
            model=self.operation.spec.model,
            version=version,
            target=target,
            code=self._code if error else "OK",
            seconds=engine.clock() - self._started_at_s,
            attempts=self.attempts,
            hedged=self.hedged,
            error=error,
            call_id=self.id,
        )
        tell_call(engine.observers, call)


def _refined(error: ServingError, rows: Sequence[VersionStatus]) -> ServingError:
    """Return NotFound or NotReady, with the states of the versions from GetModelStatus."""
    for row in rows:
        if row.state in _LOADING:
            words = (
                f"version {row.version} is not loaded yet ({row.state}); call again later, or call wait_until_ready()"
            )
            return NotReady(words, error.target, error.model, error.version, error.attempts)
    for row in rows:
        if row.state == "AVAILABLE":  # it was loaded between the two requests
            words = f"version {row.version} became available just now; call again"
            return NotReady(words, error.target, error.model, error.version, error.attempts)
    for row in rows:
        if row.error:
            words = f"version {row.version} failed to load: {' '.join(row.error.split())}"
            return NotFound(f"{error.message}; {words}", error.target, error.model, error.version, error.attempts)
    return error
