"""Find the arms that must be stopped because a metric is outside its limit with confidence.

A snapshot is read every few seconds, so an ordinary test would stop every arm sooner or later. The bounds here hold at
all sample sizes at once: the chance that an arm within its limit is ever stopped by a guardrail is at most its alpha.

- 0 or 1 per decision (`fallbacks`; `reward` with aggregate any). While the mean given the past is at most m, each
  likelihood ratio (p/m)^k ((1-p)/(1-m))^(n-k) with p > m is a nonnegative supermartingale, and so is their mean over a
  grid of p: it ever passes 1/alpha with a chance of at most alpha (Ville; Robbins 1970; Howard et al. 2021). The test
  is exact for every policy.
- Counts (`kind:NAME`): the same with r^k exp(-n m (r - 1)). The test assumes that the number of events of a decision is
  no more spread than a Poisson number of its mean, as 0 or 1 is. If one decision brings many events, it trips too
  early.
- Other rewards (sum, max, first) have no known bounds. The test uses the asymptotic confidence sequence of Waudby-Smith
  et al. 2024 (one-sided, from sum_r and sum_r2). It is valid once the central limit theorem holds, so choose `min_n`
  accordingly.

In a comparison with another arm, each of the two gets half of alpha. Late corrections are treated as if they had been
on time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from serving_client.contracts.bandits import Bandit

__all__ = ["tripped"]

# From a half of the way to the farthest alternative down to a millionth of it: effects of all sizes.
_STEPS = 2.0 ** -np.arange(1, 21)
# Alternatives to a rate of counts, as multiples of it.
_MORE, _LESS = 1 + 2.0 ** np.arange(4, -16, -1), 1 - _STEPS
# Where the asymptotic bound is tightest; it holds everywhere.
_TIGHTEST_N = 10_000
_HALVINGS = 50


class _Sample(NamedTuple):
    """Hold a metric's data. `kind` is binary, count or real. `squares` is the sum of squares, for real ones."""

    kind: str
    n: int
    total: float
    squares: float = 0.0

    @property
    def mean(self) -> float:
        return self.total / self.n


def tripped(bandit: Bandit, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Find the arms to roll back. The default arm is never among them.

    Args:
        bandit: The bandit with its guardrails.
        rows: Rows of the bandit's snapshot. Only undecayed totals of present generations in `*` are used.

    Returns:
        One entry per arm with arm, generation and reason, in the order of the guardrails.
    """
    totals = {row["arm_id"]: row for row in rows if _is_present(bandit, row)}
    found: dict[str, dict[str, Any]] = {}
    for guardrail in bandit.guardrails:
        for arm_id in _watched(bandit, guardrail):
            if arm_id in found or arm_id not in totals:
                continue
            reason = _reason(bandit, guardrail, totals[arm_id], totals.get(guardrail.get("against", arm_id)))
            if reason is not None:
                generation = bandit.arms[arm_id].generation
                found[arm_id] = {"arm": arm_id, "generation": generation, "reason": reason}
    return list(found.values())


def _is_present(bandit: Bandit, row: Mapping[str, Any]) -> bool:
    arm = bandit.arms.get(row["arm_id"])
    return row["segment"] == "*" and arm is not None and row["arm_generation"] == arm.generation


def _watched(bandit: Bandit, guardrail: Mapping[str, Any]) -> Iterator[str]:
    for arm_id, arm in bandit.arms.items():
        named = guardrail["arm"] == arm_id or (guardrail["arm"] == "*" and arm.state == "active")
        if named and arm_id not in (guardrail.get("against"), bandit.default_arm):
            yield arm_id


def _reason(
    bandit: Bandit, guardrail: Mapping[str, Any], row: Mapping[str, Any], other: Mapping[str, Any] | None
) -> str | None:
    """Return why the arm is stopped, None if it is not."""
    metric, alpha, against = guardrail["metric"], guardrail["alpha"], guardrail.get("against")
    sample = _sample(bandit, metric, row)
    upwards = "max" in guardrail
    limit = guardrail["max" if upwards else "min"]
    if other is None or min(row["n"] + row["fallbacks"], other["n"] + other["fallbacks"]) < guardrail["min_n"]:
        return None
    if sample.n == 0:
        return None
    said = f"{metric} {sample.mean:.6g}"
    if against is None:
        outside = _is_outside(sample, limit, alpha, upwards=upwards)
    else:
        base = _sample(bandit, metric, other)
        if base.n == 0:
            return None
        said += f", less {against}'s {base.mean:.6g},"
        if upwards:
            outside = _lower(sample, alpha / 2) - _upper(base, alpha / 2) > limit
        else:
            outside = _upper(sample, alpha / 2) - _lower(base, alpha / 2) < limit
    if not outside:
        return None
    return f"{said} is {'above' if upwards else 'below'} {limit:g} after {sample.n} decisions (alpha {alpha:g})"


def _sample(bandit: Bandit, metric: str, row: Mapping[str, Any]) -> _Sample:
    if metric == "fallbacks":
        return _Sample("binary", row["n"] + row["fallbacks"], row["fallbacks"])
    if metric == "reward":
        kind = "binary" if bandit.attribution.aggregate == "any" else "real"
        return _Sample(kind, row["n"], row["sum_r"], row["sum_r2"])
    return _Sample("count", row["n"], row["kinds"].get(metric.removeprefix("kind:"), 0))


def _is_outside(sample: _Sample, limit: float, alpha: float, *, upwards: bool) -> bool:
    """Return whether the mean is confidently outside the limit. The test needs no search for the bound."""
    kind, n, k, _ = sample
    if kind == "real":
        return _lower(sample, alpha) > limit if upwards else _upper(sample, alpha) < limit
    if sample.mean <= limit if upwards else sample.mean >= limit:
        return False
    if kind == "binary":
        log = _log_above(k, n, limit) if upwards else _log_above(n - k, n, 1 - limit)
    else:
        log = _log_more(k, n, limit) if upwards else _log_less(k, n, limit)
    return log >= -math.log(alpha)


def _lower(sample: _Sample, alpha: float) -> float:
    """Return the lower confidence bound of the mean."""
    kind, n, k, _ = sample
    if kind == "real":
        return sample.mean - _radius(sample, alpha)
    log = _log_above if kind == "binary" else _log_more
    return 0.0 if k == 0 else _boundary(lambda m: log(k, n, m) >= -math.log(alpha), 0.0, sample.mean)


def _upper(sample: _Sample, alpha: float) -> float:
    """Return the upper confidence bound of the mean."""
    kind, n, k, _ = sample
    if kind == "real":
        return sample.mean + _radius(sample, alpha)
    if kind == "binary":
        return 1 - _lower(sample._replace(total=n - k), alpha)
    farthest = sample.mean + 1
    while _log_less(k, n, farthest) < -math.log(alpha):
        farthest *= 2
    return _boundary(lambda m: _log_less(k, n, m) >= -math.log(alpha), farthest, sample.mean)


def _boundary(rejected: Callable[[float], bool], outside: float, inside: float) -> float:
    """Return the border between rejected and accepted values, on the rejected side."""
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if rejected(middle) else (outside, middle)
    return outside


def _log_above(k: float, n: int, m: float) -> float:
    """Return the log evidence that the mean of 0s and 1s is above m, given k ones of n."""
    if m >= 1:
        return -math.inf
    if m <= 0:
        return math.inf
    p = m + (1 - m) * _STEPS
    return _log_mean(k * np.log(p / m) + (n - k) * np.log1p(-_STEPS))  # (1 - p) / (1 - m) is 1 - step


def _log_more(k: float, n: int, m: float) -> float:
    """Return the log evidence that the rate is above m."""
    return math.inf if m <= 0 else _log_mean(k * np.log(_MORE) - n * m * (_MORE - 1))


def _log_less(k: float, n: int, m: float) -> float:
    """Return the log evidence that the rate is below m."""
    return _log_mean(k * np.log(_LESS) - n * m * (_LESS - 1))


def _log_mean(logs: Any) -> float:
    """Return log(mean(exp(logs)))."""
    greatest = float(logs.max())
    return greatest + math.log(float(np.exp(logs - greatest).mean()))


def _radius(sample: _Sample, alpha: float) -> float:
    """Return the radius of the one-sided normal mixture of Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024."""
    n = sample.n
    deviation = math.sqrt(max(0.0, sample.squares / n - sample.mean**2))
    wide = -2 * math.log(min(2 * alpha, 0.99))
    rho2 = (wide + math.log(wide + 1)) / _TIGHTEST_N
    spread = n * rho2 + 1
    return deviation * math.sqrt(2 * spread / (n * n * rho2) * math.log1p(math.sqrt(spread) / (2 * alpha)))
