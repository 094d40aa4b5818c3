"""List the measures that --similarity=auto compares: a fixed list, in the order in which ties are decided.

The list was fixed before any test set was read with it. Its members were known to be good on some data: the settings
that benchmarks/cf_quality.py found on the validation parts of Gowalla (sparse) and mooc (dense), the published defaults
of RP3 beta, and Turbo-CF. Simple measures come first, and a list of 100 neighbors comes before one of 500.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from pipelines.batch_cf.scoring import Measure
from pipelines.batch_cf.similarities import Parameters

__all__ = ["EASE_ITEMS", "MOST_NEIGHBORS", "Candidate", "candidates_for", "groups_of"]

EASE_ITEMS = 4_000
"""Up to this many items EASE is a candidate. A solve of 4,000 items takes some 10 s on one thread."""
MOST_NEIGHBORS = 100_000_000
"""Items times top_k stay below this number: 800 MB of neighbors and scores."""

_TOP_KS = (100, 500)
_MEASURES: tuple[tuple[str, dict[str, float]], ...] = (
    ("cosine", {}),
    ("asymmetric_cosine", {"asymmetry": 0.5, "shrinkage": 30.0}),
    ("asymmetric_cosine", {"asymmetry": 0.7, "shrinkage": 10.0, "locality": 2.0}),
    ("rp3beta", {"alpha": 1.0, "beta": 0.6}),
    ("rp3beta", {"alpha": 0.85, "beta": 0.4}),
    ("rp3beta", {"alpha": 1.0, "beta": 0.35, "shrinkage": 30.0, "locality": 2.5}),
    ("degree_normalized", {"user_exponent": 0.7, "item_exponent": 0.7}),
    (
        "degree_normalized",
        {"user_exponent": 0.7, "item_exponent": 0.6, "candidate_exponent": 0.3, "locality": 1.5},
    ),
    ("degree_normalized", {"user_exponent": 1.0, "item_exponent": 0.6}),
    (
        "degree_normalized",
        {"user_exponent": 1.0, "item_exponent": 0.6, "candidate_exponent": 0.3, "locality": 0.8},
    ),
    (
        "degree_normalized",
        {"user_exponent": 1.0, "item_exponent": 0.5, "candidate_exponent": 0.5, "locality": 0.8},
    ),
    ("ease", {"l2": 200.0}),
    ("ease", {"l2": 500.0}),
    ("ease", {"l2": 1000.0}),
)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A measure, and whether it uses the weights of the log."""

    measure: Measure
    weighted: bool


def candidates_for(
    items: int, weighted: Sequence[bool], fixed: Mapping[str, float], top_k: int | None
) -> list[Candidate]:
    """Return the candidates for a log, without repetition.

    Args:
        items: Number of items. EASE takes part up to EASE_ITEMS.
        weighted: Whether weights are used: (False,), (True,), or (False, True) to try both.
        fixed: Values of parameters that the user fixed. They replace those of every candidate that takes them.
        top_k: The number of neighbors that the user fixed. None tries the numbers of the list.

    Returns:
        The candidates, in the order in which ties are decided.
    """
    most = max(1, (MOST_NEIGHBORS - 1) // max(1, items))
    top_ks = (top_k,) if top_k is not None else tuple(min(most, k) for k in _TOP_KS)
    found: dict[Candidate, None] = {}
    for use in weighted:
        for name, parameters in _MEASURES:
            if name == "ease" and items > EASE_ITEMS:
                continue
            taken = Measure(name).similarity.parameters
            values = parameters | {key: value for key, value in fixed.items() if key in taken}
            # EASE with fewer neighbors is as good at 20, within noise, and loses further down the list.
            for k in top_ks[-1:] if name == "ease" else top_ks:
                found[Candidate(Measure(name, Parameters(**values), k), use)] = None  # type: ignore[arg-type]
    return list(found)


def groups_of(candidates: Sequence[Candidate]) -> list[list[int]]:
    """Return the places of the candidates that share their pair sums: they weigh interactions and users alike."""
    groups: dict[tuple[bool, float | None], list[int]] = {}
    for place, candidate in enumerate(candidates):
        groups.setdefault((candidate.weighted, candidate.measure.user_exponent), []).append(place)
    return list(groups.values())
