"""Say in one plain sentence which arm is better, or how long to wait."""

from __future__ import annotations

from pipelines.experiment.contrast import Lift
from pipelines.experiment.groups import in_words
from pipelines.experiment.result import Comparison, Experiment
from transforms.attribution.rules import HOLDBACK

__all__ = ["lift_text", "name_of", "sentence"]

_WEEK_H = 168.0


def name_of(name: str, base_arm: str) -> str:
    """Return how people read the name of a group, with the arm that the holdback shows."""
    return f"{in_words(name)} ({base_arm})" if name == HOLDBACK else in_words(name)


def lift_text(lift: Lift) -> str:
    """Return a lift with its interval, in percent of the base where that is possible."""
    if lift.relative is None or lift.relative_low is None or lift.relative_high is None:
        return f"{lift.difference:+.4g} ({lift.low:+.4g} to {lift.high:+.4g})"
    return f"{lift.relative:+.1%} ({lift.relative_low:+.1%} to {lift.relative_high:+.1%})"


def sentence(experiment: Experiment) -> str:
    """Return the sentence."""
    base = name_of(experiment.base.name, experiment.base_arm)
    if experiment.exposure.verdict == "mismatch":
        return (
            f"Do not compare the arms of {experiment.bandit_id} yet, because {experiment.exposure.arm} gets more "
            "traffic than its logged propensities say, and the cause is not known."
        )
    if experiment.held_back is not None and experiment.held_back.is_wrong:
        held = experiment.held_back
        return (
            f"Do not compare with the holdback yet, because {held.share:.2%} of the users are in it and the bandits "
            f"file says {held.expected:.2%}."
        )
    known = [each for each in experiment.arms if each.lift is not None]
    if not experiment.decisions:
        return (
            f"There is nothing to compare yet, because {experiment.bandit_id} has no decision whose attribution window "
            "is over."
        )
    if not experiment.arms:
        return f"There is nothing to compare yet, because {experiment.bandit_id} has decisions of one arm alone."
    if not known:
        return f"It is too early to compare the arms of {experiment.bandit_id}, because {experiment.arms[0].problem}."
    best = max(known, key=_difference)
    if best.verdict == "better" and best.lift is not None:
        return f"{best.group.name} is better than {base} by {lift_text(best.lift)}{_wait(experiment, best)}."
    if all(each.verdict == "worse" for each in known) and best.lift is not None:
        return (
            f"No arm is better than {base}: even the best other arm, {best.group.name}, is at {lift_text(best.lift)}."
        )
    assert best.lift is not None
    return (
        f"It is not known yet whether an arm is better than {base}: {best.group.name} is best so far with "
        f"{lift_text(best.lift)}{_runtime(best, experiment.minimum_lift)}."
    )


def _difference(comparison: Comparison) -> float:
    return comparison.lift.difference if comparison.lift is not None else float("-inf")


def _wait(experiment: Experiment, best: Comparison) -> str:
    if best.trend.fades:
        return ", but the lift fades from day to day, so wait until it is stable"
    left = (_WEEK_H - experiment.hours) / 24
    if left > 0:
        return f", but weekdays differ, so run it for {left:.1f} more days, a full week in all"
    return f", and the interval holds however often you look, after {experiment.decisions:,.0f} decisions"


def _runtime(best: Comparison, minimum_lift: float | None) -> str:
    size = "a lift of this size" if minimum_lift is None else f"a lift of {100 * minimum_lift:g}%"
    runtime = best.runtime
    if runtime is None or runtime.target is None or runtime.weeks is None or runtime.days_left is None:
        return f", and at this traffic two years would not settle {size}"
    weeks = "1 full week" if runtime.weeks == 1 else f"{runtime.weeks} full weeks"
    return f", and at this traffic it takes {weeks}, {runtime.days_left:.1f} days from now, to settle {size}"
