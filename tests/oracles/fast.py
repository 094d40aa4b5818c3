"""What plain decisions and rewards add to a Tally, many at once: the same integers, fast enough for benchmarks.

Plain: one record per id, no two rewards of a decision in one microsecond, features that fit the bandit. All else
goes through `Tally.add_decision`. A test holds that both ways agree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from examples.reward_stream.templates import Template
from tests.oracles.sums import HOUR_US, Sums, add_into
from tests.oracles.tally import OUTCOMES, Tally

__all__ = ["Plain", "add_plain"]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_COUNTED, _UNEXPOSED, _FALLBACK = (OUTCOMES.index(name) for name in ("counted", "unexposed", "fallback"))
_OUTSIDE, _IGNORED, _HELD = (OUTCOMES.index(name) for name in ("outside_window", "ignored_kind", "holdback"))
_MICRO = 1_000_000
_HALF = 27  # a float64's 53 bits in two parts whose sums stay exact


@dataclasses.dataclass(frozen=True, eq=False)
class Plain:
    """Decisions [n] by template, and rewards [m] by row of their decision; kind: position in `kinds`, value in 1e-6.

    vectors: by bandit, rows of decisions and their features [rows, d].
    """

    templates: Sequence[Template]
    template: Int64s
    at_us: Int64s
    kinds: Sequence[str]
    decision: Int64s
    kind: Int64s
    micro: Int64s
    reward_us: Int64s
    vectors: dict[str, tuple[Int64s, Float64s]]


@dataclasses.dataclass(frozen=True, eq=False)
class _Rules:
    """Of the last bandit: those that the file does not name."""

    names: list[str]
    window_us: Int64s
    future_us: Int64s
    aggregate: list[str]
    impressions: Bools
    rewarded: Bools
    """[bandits, kinds]"""


def add_plain(tally: Tally, plain: Plain) -> None:
    """Add all of it to the totals."""
    rules = _rules(tally, plain.kinds)
    number = {name: at for at, name in enumerate(rules.names)}
    nobody = len(rules.names)
    bandit = np.array([number.get(each.bandit_id, nobody) for each in plain.templates])[plain.template]
    own = np.array([OUTCOMES.index(_outcome(tally, each)) for each in plain.templates])[plain.template]
    of = bandit[plain.decision]
    start_us = plain.at_us[plain.decision]
    inside = (plain.reward_us >= start_us - rules.future_us[of]) & (plain.reward_us <= start_us + rules.window_us[of])
    impression = np.array([kind == "impression" for kind in plain.kinds])[plain.kind]
    exposed = np.zeros(len(bandit), np.bool_)
    exposed[plain.decision[inside & impression]] = True
    own = np.where((own == _COUNTED) & rules.impressions[bandit] & ~exposed, _UNEXPOSED, own)
    paid = rules.rewarded[of, plain.kind]
    theirs = np.where(~inside, _OUTSIDE, np.where(paid | impression & rules.impressions[of], _COUNTED, _IGNORED))
    theirs = np.where(own[plain.decision] == _COUNTED, theirs, own[plain.decision])
    held = np.array([each.holdback for each in plain.templates])[plain.template] & (own == _COUNTED)
    named = np.where(held, _HELD, own), np.where(held[plain.decision], _HELD, theirs)
    for bandits, outcomes in ((bandit, named[0]), (of, named[1])):
        cells = np.bincount(bandits * len(OUTCOMES) + outcomes, minlength=(nobody + 1) * len(OUTCOMES))
        for cell in np.flatnonzero(cells).tolist():
            owner, outcome = divmod(cell, len(OUTCOMES))
            name = rules.names[owner] if owner < nobody else ""
            tally.counters[tally.owner(name)][OUTCOMES[outcome]] += int(cells[cell])
    for template, count in enumerate(np.bincount(plain.template[own == _FALLBACK]).tolist()):
        if count:
            _row(tally, plain.templates[template]).fallbacks += count
    reward = _rewards(plain, rules, bandit, inside & paid & (own[plain.decision] == _COUNTED))
    newest_us = plain.at_us.copy()
    np.maximum.at(newest_us, plain.decision[inside], plain.reward_us[inside])
    for name in rules.names:
        _add_rows(tally, plain, name, (own == _COUNTED) & (bandit == number[name]), inside, reward, newest_us)


def _rules(tally: Tally, kinds: Sequence[str]) -> _Rules:
    configs = list(tally.configs.values())
    rewarded = np.array([[kind in config.kinds for kind in kinds] for config in configs] + [[False] * len(kinds)])
    return _Rules(
        [config.bandit_id for config in configs],
        np.array([config.window_us for config in configs] + [0]),
        np.array([config.future_us for config in configs] + [0]),
        [config.aggregate for config in configs],
        np.array([config.impressions for config in configs] + [False]),
        rewarded,
    )


def _outcome(tally: Tally, template: Template) -> str:
    place = tally.place(template.bandit_id, template.epoch, *template.key[1:])
    if place != "counted":
        return place
    return "bot" if template.bot else "fallback" if template.fallback else "counted"


def _row(tally: Tally, template: Template) -> Sums:
    return tally.row(template.bandit_id, template.key)


def _rewards(plain: Plain, rules: _Rules, bandit: Int64s, paid: Bools) -> Int64s:
    """The reward of each decision in millionths; paid [m]: rewards that count for it."""
    reward = np.zeros(len(bandit), np.int64)
    decision, micro, at_us = plain.decision[paid], plain.micro[paid], plain.reward_us[paid]
    for number, aggregate in enumerate(rules.aggregate):
        mine = bandit[decision] == number
        rows, values = decision[mine], micro[mine]
        if aggregate == "any":
            reward[rows[values > 0]] = _MICRO
        elif aggregate == "sum":
            np.add.at(reward, rows, values)
        elif aggregate == "max":
            reward[rows] = np.iinfo(np.int64).min
            np.maximum.at(reward, rows, values)
        else:
            order = np.argsort(at_us[mine], kind="stable")[::-1]  # the first is written last
            reward[rows[order]] = values[order]
    return reward


def _add_rows(
    tally: Tally, plain: Plain, name: str, counted: Bools, inside: Bools, reward: Int64s, newest_us: Int64s
) -> None:
    """The counted decisions of one bandit, by row."""
    chosen = np.flatnonzero(counted)
    if not len(chosen):
        return
    config = tally.configs[name]
    templates = [plain.templates[each] for each in np.unique(plain.template[chosen]).tolist()]
    keys = sorted({each.key for each in templates})
    position = {key: at for at, key in enumerate(keys)}
    code_of = np.zeros(len(plain.templates), np.int64)
    for at in np.unique(plain.template[chosen]).tolist():
        code_of[at] = position[plain.templates[at].key]
    code = code_of[plain.template[chosen]]
    rows = [tally.row(name, key) for key in keys]
    size = len(rows)
    micro, at_us = reward[chosen], plain.at_us[chosen]
    _add_integers(rows, code, at_us // HOUR_US, micro)
    kinds = counted[plain.decision] & inside
    cells = np.bincount(
        code_of[plain.template[plain.decision[kinds]]] * len(plain.kinds) + plain.kind[kinds],
        minlength=size * len(plain.kinds),
    ).reshape(size, -1)
    decided, event = np.zeros(size, np.int64), np.zeros(size, np.int64)
    np.maximum.at(decided, code, at_us)
    np.maximum.at(event, code, newest_us[chosen])
    for at, row in enumerate(rows):
        row.see(int(decided[at]), int(event[at]))
        row.kinds.update({plain.kinds[kind]: int(cells[at, kind]) for kind in np.flatnonzero(cells[at]).tolist()})
    r = micro.astype(np.float64) / 1e6
    w = 1.0 / np.array([each.propensity for each in plain.templates])[plain.template[chosen]]
    for part, values in enumerate((w, w * w, w * r, (w * r) * (w * r))):
        for at, units in _units(values, code).items():
            rows[at].ipw[part] += units
    for at, count in enumerate(np.bincount(code, minlength=size).tolist()):
        rows[at].ipw_n += count
    for half_life, half_life_us in config.half_lives.items():
        _add_decayed(rows, code, at_us, r, half_life, half_life_us)
    if name in plain.vectors:
        place, vectors = plain.vectors[name]
        features = np.zeros((len(plain.at_us), config.d))
        features[place] = vectors
        _add_features(rows, code, np.rint(features[chosen] * 1024).astype(np.int64), micro)


def _add_integers(rows: list[Sums], code: Int64s, hour: Int64s, micro: Int64s) -> None:
    values, kind = np.unique(micro, return_inverse=True)  # rewards repeat: there are few
    first = int(hour.min())
    shape = (len(rows), int(hour.max()) - first + 1, len(values))
    cells, counts = np.unique(np.ravel_multi_index((code, hour - first, kind), shape), return_counts=True)
    places = (part.tolist() for part in np.unravel_index(cells, shape))
    for at, step, which, count in zip(*places, counts.tolist(), strict=True):
        when, each = first + step, int(values[which])
        row, parts = rows[at], [count, count * each, count * each * each]
        row.n += parts[0]
        row.sum_r += parts[1]
        row.sum_r2 += parts[2]
        add_into(row.hours.setdefault(when, [0, 0, 0]), parts)


def _add_decayed(rows: list[Sums], code: Int64s, at_us: Int64s, r: Float64s, name: str, half_life_us: int) -> None:
    multiple = -(-at_us // half_life_us)
    weight = np.exp2(-(multiple * half_life_us - at_us) / half_life_us)
    first = int(multiple.min())
    span = int(multiple.max()) - first + 1
    for part, values in enumerate((weight, weight * r, weight * (r * r))):
        for cell, units in _units(values, code * span + (multiple - first)).items():
            at, step = divmod(cell, span)
            rows[at].decayed.setdefault(name, {}).setdefault(first + step, [0, 0, 0])[part] += units


def _add_features(rows: list[Sums], code: Int64s, x: Int64s, micro: Int64s) -> None:
    """Products of features stay below 2^63; of features and rewards only in Python's integers."""
    upper = np.triu_indices(x.shape[1])
    for at, row in enumerate(rows):
        mine = code == at
        xtr: Any = x[mine].T.astype(object) @ micro[mine].astype(object)
        row.describe((x[mine].T @ x[mine])[upper].tolist(), xtr.tolist())


def _units(values: Float64s, groups: Int64s) -> dict[int, int]:
    """The exact sum of each group's values in units of 2^-1074. Values are finite and none is subnormal."""
    fractions, exponents = np.frexp(values)
    mantissas = np.ldexp(fractions, 53).astype(np.int64)
    lowest = int(exponents.min())
    span = int(exponents.max()) - lowest + 1
    present, cells = np.unique(groups * span + (exponents - lowest), return_inverse=True)
    high = np.bincount(cells, (mantissas >> _HALF).astype(np.float64)).tolist()
    low = np.bincount(cells, (mantissas & ((1 << _HALF) - 1)).astype(np.float64)).tolist()
    sums: dict[int, int] = {}
    for cell, upper, lower in zip(present.tolist(), high, low, strict=True):
        group, step = divmod(cell, span)
        shift = 1074 + lowest + step - 53
        sums[group] = sums.get(group, 0) + (((int(upper) << _HALF) + int(lower)) << shift)
    return sums
