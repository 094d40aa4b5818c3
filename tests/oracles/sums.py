"""One row of statistics as exact sums, and how it is written.

Every float64 is a multiple of 2^-1074, so a sum of float64 is an integer of that unit: nothing is rounded until the sum
is written, once, as the quotient of two integers.
"""

from __future__ import annotations

import base64
import dataclasses
import math
import struct
from collections import Counter
from typing import Any

import numpy as np

from examples.reward_stream.config import Config
from examples.reward_stream.records import format_us

__all__ = ["HOUR_US", "Sums", "add_into", "units_of"]

HOUR_US = 3_600_000_000
_MICRO = 10**6
_BITS = 1074  # 2^-1074 is the least float64 above 0
_FEATURE = 2**10


def units_of(value: float) -> int:
    """A float64 in units of 2^-1074, exactly."""
    numerator, denominator = value.as_integer_ratio()
    return numerator << (_BITS + 1 - denominator.bit_length())


@dataclasses.dataclass(slots=True)
class Sums:
    """A row. sum_r in millionths, sum_r2 in their squares; floats in units of 2^-1074.

    hours: by the hour's number since 1970, [n, sum_r, sum_r2]. decayed: by half-life and by the multiple of it that the
    weights refer to, [w, w r, w r^2]. ipw: [w, w^2, w r, (w r)^2]. xtx: upper triangle, units 2^-20; xtr: 2^-10 micro.
    """

    n: int = 0
    sum_r: int = 0
    sum_r2: int = 0
    fallbacks: int = 0
    kinds: Counter[str] = dataclasses.field(default_factory=Counter)
    newest_event_us: int | None = None
    newest_decided_us: int | None = None
    hours: dict[int, list[int]] = dataclasses.field(default_factory=dict)
    decayed: dict[str, dict[int, list[int]]] = dataclasses.field(default_factory=dict)
    ipw_n: int = 0
    missing: int = 0
    ipw: list[int] = dataclasses.field(default_factory=lambda: [0, 0, 0, 0])
    xtx: list[int] = dataclasses.field(default_factory=list)
    xtr: list[int] = dataclasses.field(default_factory=list)

    def count(self, config: Config, decided_us: int, micro: int, propensity: float, x: list[int] | None) -> None:
        """Add one counted decision. x: its features in units of 2^-10, None where they are not those of the bandit."""
        self.n += 1
        self.sum_r += micro
        self.sum_r2 += micro * micro
        self.see(decided_us, decided_us)
        add_into(self.hours.setdefault(decided_us // HOUR_US, [0, 0, 0]), [1, micro, micro * micro])
        r = float(micro) / 1e6
        for name, half_life_us in config.half_lives.items():
            multiple = -(-decided_us // half_life_us)
            weight = float(np.exp2(np.float64(-(multiple * half_life_us - decided_us) / half_life_us)))
            parts = [weight, weight * r, weight * (r * r)]
            add_into(self.decayed.setdefault(name, {}).setdefault(multiple, [0, 0, 0]), map(units_of, parts))
        w = 1.0 / propensity if propensity else math.inf
        parts = [w, w * w, w * r, (w * r) * (w * r)]
        if all(map(math.isfinite, parts)):
            self.ipw_n += 1
            add_into(self.ipw, map(units_of, parts))
        else:
            self.missing += 1
        if x is not None:
            products = [x[i] * x[j] for i in range(len(x)) for j in range(i, len(x))]
            self.describe(products, [each * micro for each in x])

    def see(self, decided_us: int, event_us: int) -> None:
        """The newest times of what is counted."""
        self.newest_decided_us = max(decided_us, self.newest_decided_us or decided_us)
        self.newest_event_us = max(event_us, self.newest_event_us or event_us)

    def describe(self, xtx: list[int], xtr: list[int]) -> None:
        """Add products of features."""
        self.xtx = self.xtx or [0] * len(xtx)
        self.xtr = self.xtr or [0] * len(xtr)
        add_into(self.xtx, xtx)
        add_into(self.xtr, xtr)

    def add(self, other: Sums) -> None:
        """Add another row."""
        self.n += other.n
        self.sum_r += other.sum_r
        self.sum_r2 += other.sum_r2
        self.fallbacks += other.fallbacks
        self.kinds.update(other.kinds)
        if other.newest_decided_us is not None and other.newest_event_us is not None:
            self.see(other.newest_decided_us, other.newest_event_us)
        for hour, parts in other.hours.items():
            add_into(self.hours.setdefault(hour, [0, 0, 0]), parts)
        for name, multiples in other.decayed.items():
            for multiple, parts in multiples.items():
                add_into(self.decayed.setdefault(name, {}).setdefault(multiple, [0, 0, 0]), parts)
        self.ipw_n += other.ipw_n
        self.missing += other.missing
        add_into(self.ipw, other.ipw)
        if other.xtx:
            self.describe(other.xtx, other.xtr)

    def document(self, config: Config, key: tuple[str, str, int], newest_us: int | None) -> dict[str, Any]:
        """The row as a snapshot has it. newest_us: the bandit's largest counted decided_at."""
        oldest_hour = (newest_us or 0) // HOUR_US - config.hours_kept
        row = {
            "segment": key[0],
            "arm_id": key[1],
            "arm_generation": key[2],
            "n": self.n,
            "sum_r": self.sum_r / _MICRO,
            "sum_r2": self.sum_r2 / _MICRO**2,
            "pending": 0,
            "fallbacks": self.fallbacks,
            "kinds": dict(self.kinds),
            "max_event_ts": None if self.newest_event_us is None else format_us(self.newest_event_us),
            "decayed": {name: self._decayed(name, each, newest_us) for name, each in config.half_lives.items()},
            "hours": [
                {"start": format_us(hour * HOUR_US), "n": n, "sum_r": sum_r / _MICRO, "sum_r2": sum_r2 / _MICRO**2}
                for hour, (n, sum_r, sum_r2) in sorted(self.hours.items())
                if hour > oldest_hour
            ],
            "ipw": {
                "n": self.ipw_n,
                **dict(zip(("sum_w", "sum_w2", "sum_wr", "sum_w2r2"), map(_rounded, self.ipw), strict=True)),
                "missing": self.missing,
            },
        }
        if config.features:
            d = config.d
            row["lin"] = {
                "schema": config.schema,
                "d": d,
                "xtx": _packed([each / _FEATURE**2 for each in self.xtx or [0] * (d * (d + 1) // 2)]),
                "xtr": _packed([each / (_FEATURE * _MICRO) for each in self.xtr or [0] * d]),
            }
        return row

    def _decayed(self, name: str, half_life_us: int, newest_us: int | None) -> dict[str, Any]:
        """The sums at the smallest multiple of the half-life that is not before the bandit's newest decision."""
        if newest_us is None:
            return {"reference_time": None, "w": 0.0, "w_r": 0.0, "w_r2": 0.0}
        reference = -(-newest_us // half_life_us)
        parts = self.decayed.get(name, {})
        first = min(parts, default=reference)
        totals = [0, 0, 0]
        for multiple, each in parts.items():
            add_into(totals, [part << (multiple - first) for part in each])
        w, w_r, w_r2 = (total / (1 << (reference - first + _BITS)) for total in totals)
        return {"reference_time": format_us(reference * half_life_us), "w": w, "w_r": w_r, "w_r2": w_r2}


def add_into(sums: list[int], parts: Any) -> None:
    """Add numbers to the sums in the same places."""
    for place, part in enumerate(parts):
        sums[place] += part


def _rounded(units: int) -> float:
    return units / (1 << _BITS)


def _packed(values: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}d", *values)).decode()
