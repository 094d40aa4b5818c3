"""Choose the decisions that say something about a policy, and count the others by reason.

A fallback stays: the draw was random, whatever was shown after it (intention to treat). The chance that an arm fails is
unknown, so leaving fallbacks out is biased. `exclude_fallbacks` does it all the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.off_policy.log_facts import LEAST_PROPENSITY
from transforms.attribution.joined.join import JoinedDecisions
from transforms.hashing import siphash

__all__ = ["LEFT_OUT", "Selected", "Selection", "select"]

_USER_SEED = 0xC1

LEFT_OUT: Mapping[str, str] = {
    "other_bandit": "decisions of other bandits",
    "uncounted": "decisions that the attribution rules do not count: bots, unexposed, old epochs, unknown arms",
    "rung_default": "decisions of the rung default, which drew nothing",
    "holdback": "decisions of the holdback, which drew nothing",
    "fallback": "decisions whose arm failed (--exclude_fallbacks)",
    "without_propensity": "decisions with a propensity of 0, or below 1e-9",
}
"""Why a decision is left out. The first reason that applies counts."""


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which decisions are evaluated.

    Args:
        bandit_id: The bandit.
        by_user: Decisions of a user depend on each other.
        exclude_fallbacks: Leave out decisions whose arm failed.
        with_context: The target policy needs the context.
    """

    bandit_id: str
    by_user: bool
    exclude_fallbacks: bool
    with_context: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Selected:
    """Decisions to evaluate.

    Args:
        decisions: One row per decision. `unit` (uint64) is a hash of the user or of the decision, whose decisions
            depend on each other. `support` is the JSON text [eligible_arms, propensities] of the record, of which one
            may be null, or it is null. `context` is null unless it is needed. The others are those of JoinedDecisions.
        counts: Decisions by reason of LEFT_OUT, `evaluated`, `fallbacks` among them, and `without_user`.
    """

    decisions: pa.RecordBatch
    counts: dict[str, int]


def select(joined: JoinedDecisions, rules: Selection) -> Selected:
    """Choose decisions of a block.

    Args:
        joined: The block.
        rules: Which decisions are evaluated.
    """
    rows = joined.decisions
    fallback = _mask(rows["fallback"])
    reasons = {
        "other_bandit": ~_mask(pc.equal(rows["bandit_id"].cast(pa.string()), rules.bandit_id)),
        "uncounted": ~_mask(pc.equal(rows["outcome"].cast(pa.string()), "counted")),
        "rung_default": _mask(pc.equal(rows["rung"], "default")),
        "holdback": _mask(rows["holdback"]),
        "fallback": fallback & rules.exclude_fallbacks,
        "without_propensity": rows["propensity"].to_numpy() < LEAST_PROPENSITY,
    }
    kept = np.ones(len(rows), np.bool_)
    counts = {}
    for name, mask in reasons.items():
        counts[name] = int(np.count_nonzero(kept & mask))
        kept &= ~mask
    chosen = rows.filter(pa.array(kept))
    key = chosen["key"].to_numpy()
    user = chosen["user_key"]
    unit = key
    if rules.by_user:
        unit = np.where(_mask(pc.is_valid(user)), siphash(pc.fill_null(user, ""), _USER_SEED), key)
    counts["evaluated"] = len(chosen)
    counts["fallbacks"] = int(np.count_nonzero(fallback & kept))
    counts["without_user"] = user.null_count if rules.by_user else 0
    columns = {name: chosen[name] for name in ("arm_generation", "propensity", "decided_at_us", "reward")}
    for name in ("segment", "arm_id"):  # numbered in the order of the rows, which does not depend on the input's
        columns[name] = chosen[name].cast(pa.string()).dictionary_encode()
    columns["unit"] = pa.array(unit)
    columns["support"] = _pairs(chosen["eligible_arms"], chosen["propensities"])
    columns["context"] = chosen["context"] if rules.with_context else pa.nulls(len(chosen), pa.string())
    return Selected(pa.record_batch(columns), counts)


def _pairs(one: pa.Array, two: pa.Array) -> pa.Array:
    """Return JSON texts of two as the text of a list. Where both are null it is null."""
    joined = pc.binary_join_element_wise("[", pc.fill_null(one, "null"), ",", pc.fill_null(two, "null"), "]", "")
    return pc.if_else(pc.or_(pc.is_valid(one), pc.is_valid(two)), joined, None)


def _mask(column: pa.Array) -> npt.NDArray[np.bool_]:
    mask: npt.NDArray[np.bool_] = pc.fill_null(column, False).to_numpy(zero_copy_only=False)
    return mask
