"""A row of statistics: additive, exact sums over counted decisions.

Rewards are integers in micro-units, features are integers in units of 2^-10, and float sums are `Exact`. Any division
of the same decisions therefore gives the same row to the bit. `row_sums` computes rows from decisions.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from serving_client.contracts.bandits import Bandit, feature_schema, feature_width
from serving_client.contracts.times import format_time
from transforms.attribution.rules import Label
from transforms.attribution.statistics.exact import Exact

__all__ = ["FEATURE_UNIT", "HOUR_US", "MICRO", "Decayed", "Ipw", "Lin", "RowSums", "row_document"]

MICRO = 10**6
FEATURE_UNIT = 1 << 10
HOUR_US = 3_600_000_000

# Bits of a decayed sum that lie this far below its reference's unit are dropped now and then.
_KEPT_BITS = 1_200


@dataclasses.dataclass(slots=True)
class Decayed:
    """Sums of weights, of weight x r and of weight x r^2, r in reward units, relative to the half-life's multiple 0.

    A weight is exp2(-rem / h) x 2^a, where a x h is the smallest multiple of the half-life h not before decided_at and
    rem = a x h - decided_at. Divided by 2^k it is the weight at reference k x h (Cormode et al. 2009, forward decay).
    """

    w: Exact = dataclasses.field(default_factory=Exact)
    w_r: Exact = dataclasses.field(default_factory=Exact)
    w_r2: Exact = dataclasses.field(default_factory=Exact)

    def parts(self) -> tuple[Exact, Exact, Exact]:
        """Return the three sums."""
        return self.w, self.w_r, self.w_r2


@dataclasses.dataclass(slots=True)
class Ipw:
    """Sums over decisions with a usable propensity p: w = 1/p, w^2, w r, (w r)^2. missing: decisions without one."""

    n: int = 0
    missing: int = 0
    w: Exact = dataclasses.field(default_factory=Exact)
    w2: Exact = dataclasses.field(default_factory=Exact)
    wr: Exact = dataclasses.field(default_factory=Exact)
    w2r2: Exact = dataclasses.field(default_factory=Exact)

    def parts(self) -> tuple[Exact, Exact, Exact, Exact]:
        """Return the four sums."""
        return self.w, self.w2, self.wr, self.w2r2


@dataclasses.dataclass(slots=True)
class Lin:
    """X'X (upper triangle row by row, units 2^-20) and X'r (2^-10 micro-units) of decisions with one feature schema."""

    schema: str
    xtx: list[int]
    xtr: list[int]


@dataclasses.dataclass(slots=True)
class RowSums:
    """One row. sum_r in micro-units, sum_r2 in their squares. hours: by start, [n, sum_r, sum_r2]. decayed: by name."""

    n: int = 0
    sum_r: int = 0
    sum_r2: int = 0
    fallbacks: int = 0
    kinds: dict[str, int] = dataclasses.field(default_factory=dict)
    hours: dict[int, list[int]] = dataclasses.field(default_factory=dict)
    decayed: dict[str, Decayed] = dataclasses.field(default_factory=dict)
    ipw: Ipw = dataclasses.field(default_factory=Ipw)
    lin: Lin | None = None

    def add(self, other: RowSums, sign: int = 1) -> None:
        """Add another row, or with sign -1 take it away; `other` stays as it is."""
        self.n += sign * other.n
        self.sum_r += sign * other.sum_r
        self.sum_r2 += sign * other.sum_r2
        self.fallbacks += sign * other.fallbacks
        for kind, count in other.kinds.items():
            left = self.kinds.get(kind, 0) + sign * count
            if left:
                self.kinds[kind] = left
            else:
                self.kinds.pop(kind, None)
        for start, sums in other.hours.items():
            mine = self.hours.setdefault(start, [0, 0, 0])
            for at, value in enumerate(sums):
                mine[at] += sign * value
            if mine == [0, 0, 0]:
                del self.hours[start]
        for name, theirs in other.decayed.items():
            ours = self.decayed.setdefault(name, Decayed())
            for one, two in zip(ours.parts(), theirs.parts(), strict=True):
                one.add(two, sign)
        self.ipw.n += sign * other.ipw.n
        self.ipw.missing += sign * other.ipw.missing
        for one, two in zip(self.ipw.parts(), other.ipw.parts(), strict=True):
            one.add(two, sign)
        if other.lin is not None:
            self._add_lin(other.lin, sign)

    def is_zero(self) -> bool:
        """Whether nothing is in it, as after everything has been taken away again."""
        return not (
            self.n
            or self.sum_r
            or self.sum_r2
            or self.fallbacks
            or self.kinds
            or self.hours
            or self.ipw.missing
            or any(part.mantissa for decayed in self.decayed.values() for part in decayed.parts())
            or any(part.mantissa for part in self.ipw.parts())
            or (self.lin is not None and any((*self.lin.xtx, *self.lin.xtr)))
        )

    def prune(self, newest_us: int, hours_kept: int) -> None:
        """Remove the hours that are no longer kept. newest_us: largest decided_at."""
        oldest = newest_us // HOUR_US - hours_kept
        for start in [start for start in self.hours if start // HOUR_US <= oldest]:
            del self.hours[start]

    def cut_decayed(self, newest_us: int, half_lives: Mapping[str, int]) -> None:
        """Drop the bits of decayed sums that are far below the unit at the newest decision."""
        for name, decayed in self.decayed.items():
            if name in half_lives:
                for part in decayed.parts():
                    part.cut_below(-(-newest_us // half_lives[name]) - _KEPT_BITS)

    def to_state(self) -> dict[str, Any]:
        """Write the row as JSON that `from_state` reads. Equal rows give equal values."""
        return {
            "sums": [self.n, self.sum_r, self.sum_r2, self.fallbacks],
            "kinds": dict(sorted(self.kinds.items())),
            "hours": [[start, *sums] for start, sums in sorted(self.hours.items())],
            "decayed": {
                name: [part.to_state() for part in each.parts()] for name, each in sorted(self.decayed.items())
            },
            "ipw": [self.ipw.n, self.ipw.missing, *(part.to_state() for part in self.ipw.parts())],
            "lin": None if self.lin is None else [self.lin.schema, self.lin.xtx, self.lin.xtr],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> RowSums:
        """Read a row that `to_state` wrote."""
        row = cls()
        row.n, row.sum_r, row.sum_r2, row.fallbacks = state["sums"]
        row.kinds = dict(state["kinds"])
        row.hours = {start: list(sums) for start, *sums in state["hours"]}
        row.decayed = {
            name: Decayed(*(Exact.from_state(part) for part in each)) for name, each in state["decayed"].items()
        }
        n, missing, *parts = state["ipw"]
        row.ipw = Ipw(n, missing, *(Exact.from_state(part) for part in parts))
        if state["lin"] is not None:
            schema, xtx, xtr = state["lin"]
            row.lin = Lin(schema, list(xtx), list(xtr))
        return row

    def _add_lin(self, other: Lin, sign: int) -> None:
        if self.lin is None:
            self.lin = Lin(other.schema, [0] * len(other.xtx), [0] * len(other.xtr))
        self.lin.xtx = [one + sign * two for one, two in zip(self.lin.xtx, other.xtx, strict=True)]
        self.lin.xtr = [one + sign * two for one, two in zip(self.lin.xtr, other.xtr, strict=True)]


def row_document(
    label: Label,
    sums: RowSums,
    pending: int,
    max_event_us: int | None,
    newest_us: int | None,
    bandit: Bandit,
) -> dict[str, Any]:
    """Write a row as the snapshot has it, without bandit_id and policy_epoch, which stand once in the snapshot.

    Args:
        label: Label of the row.
        sums: Its sums.
        pending: Decisions whose window is open.
        max_event_us: Largest event time of the row.
        newest_us: The bandit's largest counted decided_at, or None. Decay refers to it, and hours count back from it.
        bandit: The bandit of the row.
    """
    row: dict[str, Any] = {
        "segment": label.segment,
        "arm_id": label.arm_id,
        "arm_generation": label.arm_generation,
        "n": sums.n,
        "sum_r": sums.sum_r / MICRO,
        "sum_r2": sums.sum_r2 / MICRO**2,
        "pending": pending,
        "fallbacks": sums.fallbacks,
        "kinds": dict(sums.kinds),
        "max_event_ts": None if max_event_us is None else format_time(max_event_us),
        "decayed": {
            name: _decayed_document(sums.decayed.get(name, Decayed()), half_life_us, newest_us)
            for name, half_life_us in bandit.half_lives.items()
        },
        "hours": _hours_document(sums.hours, newest_us, bandit.hours_kept),
        "ipw": {
            "n": sums.ipw.n,
            "sum_w": sums.ipw.w.to_float(),
            "sum_w2": sums.ipw.w2.to_float(),
            "sum_wr": sums.ipw.wr.to_float(),
            "sum_w2r2": sums.ipw.w2r2.to_float(),
            "missing": sums.ipw.missing,
        },
    }
    if bandit.features:
        row["lin"] = _lin_document(sums.lin, feature_schema(bandit), feature_width(bandit))
    return row


def _decayed_document(sums: Decayed, half_life_us: int, newest_us: int | None) -> dict[str, Any]:
    if newest_us is None:
        return {"reference_time": None, "w": 0.0, "w_r": 0.0, "w_r2": 0.0}
    reference = -(-newest_us // half_life_us)
    w, w_r, w_r2 = (part.scaled(-reference).to_float() for part in sums.parts())
    return {"reference_time": format_time(reference * half_life_us), "w": w, "w_r": w_r, "w_r2": w_r2}


def _hours_document(hours: Mapping[int, list[int]], newest_us: int | None, hours_kept: int) -> list[dict[str, Any]]:
    oldest = 0 if newest_us is None else newest_us // HOUR_US - hours_kept
    return [
        {"start": _hour_text(start), "n": n, "sum_r": sum_r / MICRO, "sum_r2": sum_r2 / MICRO**2}
        for start, (n, sum_r, sum_r2) in sorted(hours.items())
        if start // HOUR_US > oldest
    ]


@functools.lru_cache(maxsize=4096)
def _hour_text(start_us: int) -> str:
    """Format the start of an hour. All rows of a snapshot have the same few hours, so the texts are cached."""
    return format_time(start_us)


def _lin_document(sums: Lin | None, schema: str, d: int) -> dict[str, Any]:
    xtx = [0] * (d * (d + 1) // 2) if sums is None else sums.xtx
    xtr = [0] * d if sums is None else sums.xtr
    return {
        "schema": schema,
        "d": d,
        "xtx": _packed([value / FEATURE_UNIT**2 for value in xtx]),
        "xtr": _packed([value / (FEATURE_UNIT * MICRO) for value in xtr]),
    }


def _packed(values: list[float]) -> str:
    return base64.b64encode(np.array(values, "<f8").tobytes()).decode("ascii")
