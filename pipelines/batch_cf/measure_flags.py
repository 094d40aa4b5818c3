"""Declare the flags that name a similarity and its parameters, check them, and read them.

They name a Measure, or with --similarity=auto a Search for one.
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from pipelines.batch_cf.scoring import Measure
from pipelines.batch_cf.selection.search import Search
from pipelines.batch_cf.similarities import SIMILARITIES, Parameters, Similarity

__all__ = [
    "AUTO",
    "PARAMETERS",
    "add_measure_flags",
    "measure_of",
    "measure_options",
    "measure_problems",
    "search_of",
    "uses_weights",
]

AUTO = "auto"
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
    """Add --similarity, --similarity_from, --weights, --top_k and the flags of all parameters."""
    parser.add_argument(
        "--similarity",
        choices=(AUTO, *SIMILARITIES),
        default=AUTO,
        help="measure of likeness; auto chooses it with its parameters on held-out items of a sample of users, and "
        "flags of parameters fix their values (default: auto)",
    )
    parser.add_argument(
        "--similarity_from",
        metavar="DIR",
        help="output of an earlier run whose measure is used again (only with --similarity=auto; default: choose)",
    )
    parser.add_argument(
        "--weights",
        choices=("use", "ignore"),
        help="whether the weights of interactions count (default: use; --similarity=auto chooses)",
    )
    parser.add_argument(
        "--top_k",
        type=int,
        help=f"neighbors kept per item (default: {DEFAULT_TOP_K}; --similarity=auto chooses)",
    )
    for name, parameter in PARAMETERS.items():
        only = _only_with(name)
        parser.add_argument(
            f"--{name}",
            type=float,
            help=f"{parameter.meaning} (only with {only}; default: {parameter.default})",
        )


def measure_problems(view: Any) -> list[str]:
    """Return every problem of the flags, one sentence each.

    Args:
        view: The parsed flags as attributes.
    """
    problems = []
    reused = "--base" if view.base else "--similarity_from" if view.similarity_from else None
    if view.similarity != AUTO and view.similarity_from:
        problems.append(
            f"--similarity_from={view.similarity_from} has no effect with --similarity={view.similarity}; leave one out"
        )
    if view.base and view.similarity_from:
        problems.append(
            f"--base={view.base} and --similarity_from={view.similarity_from} both name a choice; leave one out"
        )
    if view.similarity == AUTO and reused:
        problems += [
            f"--{name}={getattr(view, name)} has no effect with {reused}, whose measure is used again; leave it out, "
            "or pass --similarity"
            for name in ("weights", "top_k", *PARAMETERS)
            if getattr(view, name) is not None
        ]
    if view.half_life is not None and (view.weights == "ignore" or _of(view.similarity).binary):
        flag = "--weights=ignore" if view.weights == "ignore" else f"--similarity={view.similarity}"
        problems.append(f"{flag} counts users and cannot decay; leave out --half_life or {flag}")
    if view.weights == "use" and _of(view.similarity).binary:
        problems.append(
            f"--weights=use has no effect with --similarity={view.similarity}, which counts users; leave it out"
        )
    if view.top_k is not None and view.top_k < 1:
        problems.append(f"--top_k={view.top_k} is below 1; use 1 or more")
    for name, parameter in PARAMETERS.items():
        value = getattr(view, name)
        if value is None:
            continue
        if view.similarity != AUTO and name not in SIMILARITIES[view.similarity].parameters:
            only = _only_with(name)
            problems.append(f"--{name}={value:g} has no effect with --similarity={view.similarity}; use {only}")
        elif reason := parameter.problem(value):
            problems.append(f"--{name}={value:g} {reason}")
    return problems


def measure_of(view: Any) -> Measure:
    """Return the measure that flags without problems name. With --similarity=auto it is a stand-in."""
    if view.similarity == AUTO:
        return Measure()
    return Measure(view.similarity, Parameters(**_given(view)), DEFAULT_TOP_K if view.top_k is None else view.top_k)


def search_of(view: Any) -> Search | None:
    """Return what flags without problems leave open, None if they name a measure. Decay needs the weights."""
    if view.similarity != AUTO:
        return None
    weighted = None if view.weights is None else view.weights == "use"
    if view.half_life is not None:
        weighted = True
    return Search(tuple(_given(view).items()), view.top_k, weighted, view.similarity_from)


def uses_weights(view: Any) -> bool:
    """Return whether flags without problems make weights count."""
    return view.weights != "ignore" and not _of(view.similarity).binary


def measure_options(view: Any) -> dict[str, Any]:
    """Return the options that a named measure stands for, with their values, None for those that it does not take.

    With --similarity=auto the flags stay as they are given.
    """
    if view.similarity == AUTO:
        return {}
    measure = measure_of(view)
    used = measure.similarity.parameters
    values = {name: getattr(measure.parameters, name) if name in used else None for name in PARAMETERS}
    return {"similarity": measure.name, "top_k": measure.top_k, **values}


def _given(view: Any) -> dict[str, Any]:
    return {name: getattr(view, name) for name in PARAMETERS if getattr(view, name) is not None}


def _of(name: str) -> Similarity:
    """Return the similarity, for auto that of its candidates: none of them is binary."""
    return SIMILARITIES["cosine" if name == AUTO else name]


def _only_with(parameter: str) -> str:
    """Return the flag that names the measures that take a parameter."""
    *others, last = [name for name, similarity in SIMILARITIES.items() if parameter in similarity.parameters]
    return f"--similarity={', '.join(others)} or {last}" if others else f"--similarity={last}"
