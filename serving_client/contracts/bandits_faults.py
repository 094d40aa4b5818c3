"""Find contradictions in a bandits file that a JSON Schema cannot express, as sentences for its author."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from serving_client.contracts.bandits import Arm, Bandit
from serving_client.contracts.policies import NO_PRIOR, policy_faults, prior_faults
from serving_client.contracts.times import format_duration

__all__ = ["bandit_faults"]

# A row keeps d (d + 1) / 2 sums of products, 8 bytes each: 1 MB per row at this width.
_MOST_FEATURES = 512
# Durations are stored in state and added to times. Ten years cannot overflow either.
_LONGEST_US = 3_650 * 86_400_000_000
# Decayed sums are exact, with a bit for each half-life between the oldest decision and the newest.
_SHORTEST_HALF_LIFE_US = 1_000_000
# `served_by` of a decision without a model's answer.
_POPULARITY = "popularity"
_VALUES = {"bool": "true or false", "numeric": "a number"}


def bandit_faults(bandit: Bandit, prior: Mapping[str, Any], width: int) -> Iterator[str]:
    """Yield the contradictions of a bandit. Each message continues after the bandit's name and a dot.

    Args:
        bandit: The bandit, with defaults filled in.
        prior: `prior` as in the file.
        width: Length of the feature vector.
    """
    active = [arm.arm_id for arm in bandit.arms.values() if arm.state == "active"]
    if bandit.default_arm not in active:
        yield f"default_arm {bandit.default_arm} is not an active arm; {_choice(active)}"
    for arm in bandit.arms.values():
        yield from _arm_faults(bandit, arm)
    yield from _duration_faults(bandit)
    if bandit.holdback is not None and bandit.holdback.arm not in active:
        yield f"holdback.arm {bandit.holdback.arm} is not an active arm; {_choice(active)}"
    names = [feature.name for feature in bandit.features]
    if len(set(names)) < len(names):
        yield f"features lists {next(name for name in names if names.count(name) > 1)} twice; rename one of them"
    if width > _MOST_FEATURES:
        yield f"features make a vector of {width} numbers; use fewer buckets, {_MOST_FEATURES} numbers at most"
    yield from _attribute_faults(bandit)
    yield from policy_faults(
        bandit.policy, active, bandit.attribution.aggregate, bandit.half_lives, bandit.hours_kept, len(bandit.features)
    )
    yield from prior_faults(bandit.policy["kind"], prior, bandit.arms)
    for at, guardrail in enumerate(bandit.guardrails):
        yield from (f"guardrails[{at}]{fault}" for fault in _guardrail_faults(guardrail, bandit))


def _arm_faults(bandit: Bandit, arm: Arm) -> Iterator[str]:
    place = f"arms.{arm.arm_id}"
    if arm.arm_id == _POPULARITY:
        yield f"{place}: this name stands for popular items, which are shown if no arm answers; rename the arm"
    if arm.ramp is not None:
        afters = [after for after, _ in arm.ramp.steps]
        if any(later <= earlier for earlier, later in itertools.pairwise(afters)):
            yield f"{place}.ramp.steps are out of order; sort them by `after`, without equal values"
        if arm.arm_id == bandit.default_arm:
            yield f"{place}.ramp: the default arm takes the rest; remove the ramp or name another default_arm"
    earlier = bandit.prior_from.get(arm.arm_id)
    if earlier is None:
        return
    if bandit.policy["kind"] in NO_PRIOR:
        yield f"{place}.prior_from: policy.kind {bandit.policy['kind']} does not use a prior; remove it"
    if earlier["generation"] >= arm.generation:
        yield (
            f"{place}.prior_from.generation {earlier['generation']} is not before the arm's generation "
            f"{arm.generation}; use an earlier generation"
        )


def _attribute_faults(bandit: Bandit) -> Iterator[str]:
    """Yield attributes that no feature reads, that have another type, or that only some of the active arms have.

    No arm needs attributes: a value that all arms lack is a missing value, which has an encoding.
    """
    features = {feature.name: feature for feature in bandit.features if feature.source == "model"}
    for arm in bandit.arms.values():
        for name, value in arm.attributes.items():
            place = f"arms.{arm.arm_id}.attributes.{name}"
            if name not in features:
                yield f"{place} is not a feature with `from: model`; {_choice(list(features), 'add the feature')}"
            elif not _fits(features[name].type, value):
                yield f"{place} {json.dumps(value)} is not {_VALUES[features[name].type]}; correct it"
    active = [arm for arm in bandit.arms.values() if arm.state == "active"]
    for name in features:
        with_value = [arm.arm_id for arm in active if name in arm.attributes]
        without = [arm.arm_id for arm in active if name not in arm.attributes]
        if with_value and without:
            yield f"arms.{without[0]}.attributes.{name} is missing, and arm {with_value[0]} has it; add it"


def _fits(kind: str, value: Any) -> bool:
    match kind:
        case "bool":
            return isinstance(value, bool)
        case "numeric":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case _:
            return True


def _duration_faults(bandit: Bandit) -> Iterator[str]:
    rules = bandit.attribution
    spans = {
        "attribution.window": rules.window_us,
        "attribution.allowed_lateness": rules.allowed_lateness_us,
        "attribution.max_future": rules.max_future_us,
        "retain_generations": bandit.retain_generations_us,
        **{f"half_lives {text}": half_life_us for text, half_life_us in bandit.half_lives.items()},
    }
    for name, span_us in spans.items():
        if span_us > _LONGEST_US:
            yield f"{name} is longer than {format_duration(_LONGEST_US)}; use less"
    if rules.window_us == 0:
        yield "attribution.window is 0, so no reward would count; use the time within which a reward counts"
    for text, half_life_us in bandit.half_lives.items():
        if half_life_us < _SHORTEST_HALF_LIFE_US:
            yield f"half_lives {text} is shorter than {format_duration(_SHORTEST_HALF_LIFE_US)}; use that or more"
    if len(set(bandit.half_lives.values())) < len(bandit.half_lives):
        yield f"half_lives {', '.join(bandit.half_lives)} list one duration twice; remove one of them"
    if bandit.staleness["fresh"] > bandit.staleness["hard"]:
        fresh, hard = (format_duration(bandit.staleness[name]) for name in ("fresh", "hard"))
        yield f"staleness.fresh {fresh} is longer than staleness.hard {hard}; use a shorter one"


def _guardrail_faults(guardrail: Mapping[str, Any], bandit: Bandit) -> Iterator[str]:
    if ("max" in guardrail) == ("min" in guardrail):
        yield f" has {'both max and min' if 'max' in guardrail else 'neither max nor min'}; set one of them"
    arm, against = guardrail["arm"], guardrail.get("against")
    if arm != "*" and arm not in bandit.arms:
        yield f".arm {arm} is not an arm; {_choice(['*', *bandit.arms])}"
    if arm == bandit.default_arm:
        yield f".arm {arm} is the default arm, which a guardrail cannot stop; use another arm"
    if against is not None and against not in bandit.arms:
        yield f".against {against} is not an arm; {_choice(list(bandit.arms))}"
    if against == arm:
        yield f".against {against} is the same arm; use another arm"


def _choice(names: list[str], otherwise: str = "make an arm active") -> str:
    return f"use one of {', '.join(names)}" if names else otherwise
