"""Declare the flags that name a similarity and its parameters, check them, and read them as a Measure."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from pipelines.batch_cf.scoring import Measure
from pipelines.batch_cf.similarities import SIMILARITIES, Parameters

__all__ = ["PARAMETERS", "add_measure_flags", "measure_of", "measure_options", "measure_problems"]

DEFAULT_TOP_K = 100


@dataclasses.dataclass(frozen=True)
class _Parameter:
    """The flag of a parameter: its meaning, its default in words, and the range of its values."""

    meaning: str
    default: str
    low: float
    high: float
    open_low: bool = False

    def problem(self, value: float) -> str | None:
        """Return why a value is out of range, None if it is not."""
        if (self.low < value if self.open_low else self.low <= value) and value <= self.high:  # false for nan
            return None
        low = f"above {self.low:g}" if self.open_low else f"of at least {self.low:g}"
        return f"is not a number {low} and at most {self.high:g}"


_DEFAULTS = Parameters()
PARAMETERS: dict[str, _Parameter] = {
    "asymmetry": _Parameter("exponent of the history item's side", f"{_DEFAULTS.asymmetry:g}", 0, 1),
    "alpha": _Parameter("exponent of the transition probabilities", f"{_DEFAULTS.alpha:g}", -16, 16),
    "beta": _Parameter("exponent of the neighbor's popularity", f"{_DEFAULTS.beta:g}", -16, 16),
    "user_exponent": _Parameter("exponent of the user's degree", f"{_DEFAULTS.user_exponent:g}", -16, 16),
    "item_exponent": _Parameter("exponent of the history item's degree", f"{_DEFAULTS.item_exponent:g}", -16, 16),
    "candidate_exponent": _Parameter("exponent of the candidate item's degree", "1 - item_exponent", -16, 16),
    "shrinkage": _Parameter("number of users added to the denominator", f"{_DEFAULTS.shrinkage:g}", 0, 1e12),
    "locality": _Parameter(
        "power of the score; above 1 favors near neighbors, below 1 distant ones",
        f"{_DEFAULTS.locality:g}", 0, 16, open_low=True,
    ),
    "l2": _Parameter("L2 regularization, in users", f"{_DEFAULTS.l2:g}", 0, 1e12, open_low=True),
}  # fmt: skip
"""Flags of Parameters. A flag that is left out takes the default of Parameters."""


def add_measure_flags(parser: argparse.ArgumentParser) -> None:
    """Add --similarity, --top_k and the flags of all parameters."""
    parser.add_argument(
        "--similarity", choices=tuple(SIMILARITIES), default="cosine", help="measure of likeness (default: cosine)"
    )
    parser.add_argument("--top_k", type=int, help=f"neighbors kept per item (default: {DEFAULT_TOP_K})")
    for name, parameter in PARAMETERS.items():
        only = _either(f"--similarity={user}" for user in _users_of(name))
        parser.add_argument(
            f"--{name}", type=float, help=f"{parameter.meaning} (only with {only}; default: {parameter.default})"
        )


def measure_problems(view: Any) -> list[str]:
    """Return every problem of the flags, one sentence each.

    Args:
        view: The parsed flags as attributes.
    """
    problems = []
    if view.top_k is not None and view.top_k < 1:
        problems.append(f"--top_k={view.top_k} is below 1; use 1 or more")
    for name, parameter in PARAMETERS.items():
        value = getattr(view, name)
        if value is None:
            continue
        if name not in SIMILARITIES[view.similarity].parameters:
            only = _either(f"--similarity={user}" for user in _users_of(name))
            problems.append(f"--{name}={value:g} has no effect with --similarity={view.similarity}; use {only}")
        elif reason := parameter.problem(value):
            problems.append(f"--{name}={value:g} {reason}")
    return problems


def measure_of(view: Any) -> Measure:
    """Return the measure that flags without problems name."""
    given = {name: getattr(view, name) for name in PARAMETERS if getattr(view, name) is not None}
    return Measure(view.similarity, Parameters(**given), DEFAULT_TOP_K if view.top_k is None else view.top_k)


def measure_options(measure: Measure) -> dict[str, Any]:
    """Return the flags that repeat a measure, with their values, None for flags that it does not take."""
    used = measure.similarity.parameters
    values = {name: getattr(measure.parameters, name) if name in used else None for name in PARAMETERS}
    return {"similarity": measure.name, "top_k": measure.top_k, **values}


def _users_of(parameter: str) -> list[str]:
    return [name for name, similarity in SIMILARITIES.items() if parameter in similarity.parameters]


def _either(names: Any) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last
