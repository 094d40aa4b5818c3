"""A snapshot as a router uses it: the statistics of one bandit's arms, checked and in float64.

`parse_snapshot` checks what a router computes with. It does not check facts about traffic, such as rewards above 1, and
it ignores unknown fields. Rows of arms that the bandits file does not have are kept, and the policies ignore them.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from serving_client.snapshots.fields import (
    SnapshotError,
    array,
    column,
    count,
    integer,
    members,
    number,
    optional_time_us,
    positive,
    string,
    time_us,
)
from serving_client.snapshots.json_pieces import JsonPieces

__all__ = ["Decayed", "Hour", "Hours", "Lin", "Row", "Snapshot", "parse_in_steps", "parse_snapshot"]

Float64s = npt.NDArray[np.float64]

_SCHEMA_VERSION = 1


class Hour(NamedTuple):
    """Sums of the decisions of one hour, which starts at `start_us`, microseconds since 1970."""

    start_us: int
    n: float
    sum_r: float
    sum_r2: float


class Hours(Sequence[Hour]):
    """Hours, ascending, in one array: 168 objects per row would take the garbage collector milliseconds.

    Args:
        sums: float64 [hours, 4]: start_us, n, sum_r, sum_r2.
    """

    __slots__ = ("sums",)

    def __init__(self, sums: Float64s) -> None:
        self.sums = sums

    def __len__(self) -> int:
        return len(self.sums)

    @overload
    def __getitem__(self, at: int, /) -> Hour: ...
    @overload
    def __getitem__(self, at: slice, /) -> Hours: ...
    def __getitem__(self, at: int | slice, /) -> Hour | Hours:
        if isinstance(at, slice):
            return Hours(self.sums[at])
        start_us, n, sum_r, sum_r2 = self.sums[at].tolist()
        return Hour(int(start_us), n, sum_r, sum_r2)


@dataclasses.dataclass(frozen=True, slots=True)
class Decayed:
    """Sums whose weight halves every half-life before `reference_time_us`. It is None before the first decision."""

    reference_time_us: int | None
    w: float
    w_r: float
    w_r2: float


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Lin:
    """Sums of features, without lambda I and without a prior.

    Args:
        schema: Id of the features, as `contracts.bandits.feature_schema` returns it.
        d: Number of features.
        xtx: X'X, float64 [d, d], symmetric.
        xtr: X'r, float64 [d].
    """

    schema: str
    d: int
    xtx: Float64s
    xtr: Float64s


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Row:
    """Statistics of one arm's generation in one segment. The fields are as in `snapshot.json`.

    Args:
        n: Matured decisions.
        sum_r: Sum of their rewards.
        sum_r2: Sum of their squared rewards.
        pending: Decisions whose window is open.
        fallbacks: Decisions that showed another arm.
        kinds: Rewards by kind.
        decayed: Decayed sums by half-life, as the bandits file writes it.
        hours: Sums by the hour of decided_at, ascending.
        ipw: Sums of inverse propensities by name.
        lin: Sums of features. None if the bandit has no features.
    """

    n: float
    sum_r: float
    sum_r2: float
    pending: float = 0.0
    fallbacks: float = 0.0
    kinds: Mapping[str, int] = dataclasses.field(default_factory=dict)
    decayed: Mapping[str, Decayed] = dataclasses.field(default_factory=dict)
    hours: Sequence[Hour] = ()
    ipw: Mapping[str, float] = dataclasses.field(default_factory=dict)
    lin: Lin | None = None


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """One bandit's statistics at a watermark.

    Args:
        bandit_id: The bandit.
        version: Number of the version.
        policy_epoch: Epoch of the bandits file that the rows count for.
        published_at_us: Time of publishing, microseconds since 1970.
        watermark_us: Watermark, microseconds since 1970. None before any event has been read.
        config_hash: `contracts.bandits.config_hash` of the bandit that the stream used.
        rows: Rows by segment, arm and generation. The segment * holds all decisions.
        rolled_back: Arms and generations that a guardrail stopped.
    """

    bandit_id: str
    version: int
    policy_epoch: int
    published_at_us: int
    watermark_us: int | None
    config_hash: str
    rows: Mapping[tuple[str, str, int], Row]
    rolled_back: frozenset[tuple[str, int]] = frozenset()


def parse_snapshot(data: bytes) -> Snapshot:
    """Parse and check a snapshot.

    Args:
        data: The published document.

    Returns:
        The snapshot.

    Raises:
        SnapshotError: The document is not JSON, is not a snapshot, or holds a number that cannot be.
    """
    steps = parse_in_steps(data)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            snapshot: Snapshot = done.value
            return snapshot


def parse_in_steps(data: bytes) -> Generator[None, None, Snapshot]:
    """Parse and check a snapshot in steps of one row, 0.5 ms or less, so that other threads can run between them.

    Args:
        data: The published document.

    Yields:
        None after each step.

    Returns:
        The snapshot.

    Raises:
        SnapshotError: As in `parse_snapshot`.
    """
    fields: dict[str, Any] = {}
    rows: dict[tuple[str, str, int], Row] | None = None
    try:
        pieces = JsonPieces(data.decode())
        yield
        for key in pieces.each_key():
            if key != "arms":
                fields[key] = pieces.value()
                continue
            rows = {}
            for at, row in enumerate(pieces.elements()):
                label, parsed = _row(f"arms[{at}]", row)
                if label in rows:
                    raise SnapshotError(f"arms[{at}]: repeats segment {label[0]!r}, arm {label[1]!r}")
                rows[label] = parsed
                yield
        pieces.end()
    except SnapshotError:
        raise
    except (ValueError, RecursionError) as error:
        raise SnapshotError(f"is not JSON ({error})") from error
    if rows is None:
        raise SnapshotError("arms is missing")
    return _snapshot(fields, rows)


def _snapshot(fields: Mapping[str, Any], rows: Mapping[tuple[str, str, int], Row]) -> Snapshot:
    if fields.get("schema_version") != _SCHEMA_VERSION:
        found = fields.get("schema_version")
        raise SnapshotError(f"schema_version is {found!r}, and this release reads {_SCHEMA_VERSION}; upgrade recbeam")
    return Snapshot(
        bandit_id=string("", fields, "bandit_id"),
        version=integer("", fields, "version"),
        policy_epoch=integer("", fields, "policy_epoch"),
        published_at_us=time_us("", fields, "published_at"),
        watermark_us=optional_time_us("", fields, "watermark"),
        config_hash=string("", fields, "config_hash"),
        rows=rows,
        rolled_back=frozenset(
            (string(f"rolled_back[{at}]", entry, "arm"), integer(f"rolled_back[{at}]", entry, "generation"))
            for at, entry in enumerate(array("", fields, "rolled_back"))
        ),
    )


def _row(where: str, row: Any) -> tuple[tuple[str, str, int], Row]:
    label = (string(where, row, "segment"), string(where, row, "arm_id"), integer(where, row, "arm_generation"))
    kinds, decayed, ipw = (members(where, row, key) for key in ("kinds", "decayed", "ipw"))
    parsed = Row(
        n=count(where, row, "n"),
        sum_r=number(where, row, "sum_r"),
        sum_r2=positive(where, row, "sum_r2"),
        pending=count(where, row, "pending"),
        fallbacks=count(where, row, "fallbacks"),
        kinds={kind: int(count(f"{where}.kinds", kinds, kind)) for kind in kinds},
        decayed={name: _decayed(f"{where}.decayed.{name}", sums) for name, sums in decayed.items()},
        hours=_hours(where, row),
        ipw={name: number(f"{where}.ipw", ipw, name) for name in ipw},
        lin=_lin(f"{where}.lin", row["lin"]) if row.get("lin") is not None else None,
    )
    return label, parsed


def _decayed(where: str, sums: Any) -> Decayed:
    return Decayed(
        optional_time_us(where, sums, "reference_time"),
        positive(where, sums, "w"),
        number(where, sums, "w_r"),
        positive(where, sums, "w_r2"),
    )


def _hours(where: str, row: Mapping[str, Any]) -> Hours:
    hours, where = array(where, row, "hours"), f"{where}.hours"
    sums = np.empty((len(hours), 4))
    sums[:, 0] = column(where, hours, "start", time_us)
    sums[:, 1] = column(where, hours, "n", count)
    sums[:, 2] = column(where, hours, "sum_r", number)
    sums[:, 3] = column(where, hours, "sum_r2", positive)
    if (np.diff(sums[:, 0]) <= 0).any():
        raise SnapshotError(f"{where}: is not in ascending order")
    return Hours(sums)


def _lin(where: str, lin: Any) -> Lin:
    d = integer(where, lin, "d")
    if d < 1:
        raise SnapshotError(f"{where}.d: is {d} and must be at least 1")
    upper = _floats(where, lin, "xtx", d * (d + 1) // 2)
    xtx = np.zeros((d, d))
    xtx[np.triu_indices(d)] = upper
    xtx += np.triu(xtx, 1).T
    if (np.diagonal(xtx) < 0).any():
        raise SnapshotError(f"{where}.xtx: has a negative sum of squares")
    return Lin(string(where, lin, "schema"), d, xtx, _floats(where, lin, "xtr", d))


def _floats(where: str, lin: Mapping[str, Any], key: str, size: int) -> Float64s:
    try:
        data = base64.b64decode(string(where, lin, key), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SnapshotError(f"{where}.{key}: is not base64 ({error})") from error
    if len(data) != 8 * size:
        raise SnapshotError(f"{where}.{key}: has {len(data)} bytes, and {size} numbers take {8 * size}")
    values = np.frombuffer(data, "<f8").astype(np.float64)
    if not np.isfinite(values).all():
        raise SnapshotError(f"{where}.{key}: holds a number that is not finite")
    return values
