"""The verdict and its sentence, for experiments whose truth is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from pipelines.experiment.contrast import multiplier
from pipelines.experiment.document import as_document
from pipelines.experiment.result import Experiment
from pipelines.experiment.sentence import sentence
from pipelines.experiment.user_sums import UserTotals
from pipelines.experiment.verdict import group_names, judge
from serving_client.snapshots.snapshot import Snapshot
from tests.experiment.worlds import HOUR_US, MONDAY_US, bandit, drawn, row, snapshot
from transforms.attribution.rules import HOLDBACK

WEEK = 168


def flat(value: float, hours: int = WEEK) -> list[float]:
    return [value] * hours


def world(cf: Sequence[float], vae: Sequence[float], share: Sequence[float] | None = None, **more: int) -> Snapshot:
    """Draw two arms. share: of vae by hour, a half by default."""
    shares = flat(0.5, len(cf)) if share is None else share
    propensities = {"cf": [1 - each for each in shares], "vae": list(shares)}
    return drawn(np.random.default_rng(1), {"cf": cf, "vae": vae}, propensities, **more)


def judged(made: Snapshot, holdback: float = 0.0, arms: Sequence[str] = ("cf", "vae"), **more: float) -> Experiment:
    of = bandit(arms, holdback)
    return judge(of, made, group_names(of, made), **more)


def test_a_better_arm_is_named_with_its_lift() -> None:
    found = judged(world(flat(0.05), flat(0.06)))
    (vae,) = found.comparisons
    assert (found.base.name, found.method, found.unit) == ("cf", "propensity", "decisions")
    assert vae.lift is not None and vae.lift.relative == pytest.approx(0.2, abs=0.04)
    assert (vae.verdict, found.exposure.verdict) == ("better", "ok")
    assert sentence(found).startswith("vae is better than cf by +")
    assert sentence(found).endswith(", and the interval holds however often you look, after 168,000 decisions.")


def test_a_worse_arm_leaves_the_default_arm() -> None:
    found = judged(world(flat(0.06), flat(0.05)))
    assert found.comparisons[0].verdict == "worse"
    assert sentence(found).startswith("No arm is better than cf: even the best other arm, vae, is at -")


def test_equal_arms_are_open_and_the_runtime_is_that_of_the_smallest_lift_that_matters() -> None:
    found = judged(world(flat(0.05), flat(0.05)), minimum_lift=0.05)
    (vae,) = found.comparisons
    assert vae.verdict == "open" and vae.runtime is not None and vae.runtime.weeks == 4
    assert "It is not known yet whether an arm is better than cf" in sentence(found)
    assert sentence(found).endswith("it takes 4 full weeks, 21.0 days from now, to settle a lift of 5%.")


def test_two_comparisons_share_the_chance_of_an_error() -> None:
    """Beside a third arm, the lift of vae is the same, and its interval is that of 97.5%."""
    arms = {"cf": flat(0.05), "vae": flat(0.06), "other": flat(0.05)}
    made = drawn(np.random.default_rng(1), arms, dict.fromkeys(arms, flat(1 / 3)))
    two = snapshot({key: each for key, each in made.rows.items() if key[1] != "other"})
    alone, one = judged(two).comparisons[0], judged(made, arms=list(arms)).comparisons[0]
    assert alone.lift is not None and one.lift is not None and one.group == alone.group
    assert one.lift.difference == alone.lift.difference
    n = one.group.n + made.rows["*", "cf", 1].n
    wider = multiplier(n, 0.025) / multiplier(n, 0.05)
    assert one.lift.high - one.lift.low == pytest.approx(wider * (alone.lift.high - alone.lift.low))


def test_a_novelty_is_not_taken_for_a_lift() -> None:
    fading = [0.05 + 0.04 * np.exp(-hour / 40) for hour in range(WEEK)]
    found = judged(world(flat(0.05), fading))
    assert found.comparisons[0].trend.fades
    assert sentence(found).endswith(", but the lift fades from day to day, so wait until it is stable.")


def test_less_than_a_week_is_not_enough() -> None:
    found = judged(world(flat(0.05, 20), flat(0.06, 20), per_hour=20_000))
    assert sentence(found).endswith("but weekdays differ, so run it for 6.2 more days, a full week in all.")


def test_too_few_decisions_have_no_lift() -> None:
    found = judged(world(flat(0.05, 20), flat(0.06, 20), per_hour=20))
    assert found.comparisons[0].lift is None and found.comparisons[0].verdict == "unknown"
    assert sentence(found).startswith("It is too early to compare the arms of home_row, because ")
    alone = judged(snapshot({("*", "cf", 1): row([(500, 50)])}))
    assert sentence(alone) == "There is nothing to compare yet, because home_row has decisions of one arm alone."
    empty = judged(snapshot({}))
    assert empty.comparisons == []
    assert sentence(empty) == (
        "There is nothing to compare yet, because home_row has no decision whose attribution window is over."
    )
    few = judged(world(flat(0.05, 20), flat(0.08, 20), holdback=1), holdback=0.2)
    problems = [each.problem or "" for each in few.comparisons]
    assert len(problems) == 3 and all(each.startswith("the holdback has 20 decisions") for each in problems)
    assert sentence(few).endswith(f"because {problems[1]}.")


def test_an_adaptive_policy_does_not_bias_the_lift() -> None:
    """vae gets the good hours: pooled it earns 20% more, weighted by 1 / propensity nothing."""
    rates = [0.1 if hour % 24 < 12 else 0.05 for hour in range(WEEK)]
    share = [0.8 if hour % 24 < 12 else 0.3 for hour in range(WEEK)]
    found = judged(world(rates, rates, share))
    (vae,) = found.comparisons
    assert vae.group.sum_r / vae.group.n > 1.2 * found.base.sum_r / found.base.n
    assert vae.verdict == "open" and vae.mean == pytest.approx(0.075, abs=0.004)


def test_an_arm_that_came_later_is_compared_by_hour() -> None:
    """cf earned .1 in the three days before vae came, and .05 as vae does since then."""
    before = 72
    found = judged(
        world([*flat(0.1, before), *flat(0.05, WEEK - before)], flat(0.05), [*flat(0.0, before), *flat(0.3, 96)])
    )
    (vae,) = found.comparisons
    assert found.method == "hour" and vae.verdict == "open"
    assert found.notes[0] == "vae was there for about 57% of the decisions, so arms are compared by hour."
    assert vae.mean == pytest.approx(0.05, abs=0.003)


def test_decisions_without_a_propensity_are_compared_by_hour() -> None:
    made = world(flat(0.05), flat(0.06))
    vae = made.rows["*", "vae", 1]

    def lacking(missing: int) -> Experiment:
        row_of_vae = dataclasses.replace(vae, ipw={**vae.ipw, "missing": missing})
        return judged(snapshot({**made.rows, ("*", "vae", 1): row_of_vae}))

    found = lacking(2_000)
    assert found.method == "hour" and found.comparisons[0].verdict == "better"
    assert found.notes[0] == "2,000 decisions of vae have no propensity, so arms are compared by hour."
    assert lacking(100).method == "propensity"


def test_the_holdback_is_the_base_where_there_is_one() -> None:
    made = world(flat(0.05), flat(0.08), holdback=300)
    found = judged(made, holdback=0.2)
    assert (found.base.name, found.base_arm) == (HOLDBACK, "cf")
    assert [each.group.name for each in found.comparisons] == ["*policy", "cf", "vae"]
    assert found.comparisons[0].group.n == 168_000 and found.decisions == 168_000 + 300 * WEEK
    assert [each.verdict for each in found.comparisons] == ["better", "open", "better"]
    assert sentence(found).startswith("vae is better than the holdback (cf) by +")
    of = bandit(holdback=0.2)
    assert group_names(of, made, "default") == ["cf", "vae"]


def test_a_holdback_that_began_later_is_compared_by_hour() -> None:
    made = world(flat(0.05), flat(0.06))
    late = row([(300, 15)] * 96, first_us=MONDAY_US + 72 * HOUR_US)
    found = judged(snapshot({**made.rows, ("*holdback", "cf", 1): late}), holdback=0.2)
    assert found.method == "hour"
    assert "The holdback began later than the arms, so arms are compared by hour." in found.notes


def test_a_mismatch_forbids_the_comparison() -> None:
    """vae gets 60% of the traffic with a logged propensity of a half."""
    rows = {("*", arm, 1): row([(n, n // 20)] * WEEK, flat(0.5)) for arm, n in (("cf", 400), ("vae", 600))}
    found = judged(snapshot(rows))
    assert (found.exposure.verdict, found.exposure.arm) == ("mismatch", "vae")
    assert sentence(found).startswith("Do not compare the arms of home_row yet, because vae gets more traffic")


def totals(names: Sequence[str], groups: Mapping[str, tuple[float, float, float]], users: int) -> UserTotals:
    """Users of one decision and weight 2 each. groups: users, rewarded, and users whose first draw it was."""
    sums, products = np.zeros(2 * len(names)), np.zeros((2 * len(names),) * 2)
    exposure = np.zeros((len(names) + 1, 4))
    for at, name in enumerate(names):
        n, rewarded, first = groups[name]
        sums[2 * at : 2 * at + 2] = 2 * n, 2 * rewarded
        products[2 * at : 2 * at + 2, 2 * at : 2 * at + 2] = [[4 * n, 4 * rewarded], [4 * rewarded, 4 * rewarded]]
        exposure[at] = first, 2 * first, 4 * first, 0
    return UserTotals(sums, products, np.array([groups[name][0] for name in names]), users, exposure)


def test_users_are_the_units_where_the_logs_were_read() -> None:
    made, of = world(flat(0.05), flat(0.08), holdback=300), bandit(holdback=0.1)
    names = group_names(of, made)
    groups = {
        HOLDBACK: (1_000, 50, 0),
        "*policy": (9_000, 600, 0),
        "cf": (4_500, 225, 4_500),
        "vae": (4_500, 375, 4_500),
    }
    found = judge(of, made, names, totals(names, groups, 10_000))
    assert found.unit == "users" and found.held_back is not None and not found.held_back.is_wrong
    assert found.comparisons[2].mean == pytest.approx(375 / 4_500)
    assert (found.exposure.verdict, found.exposure.unit) == ("ok", "users")
    assert not [note for note in found.notes if "independent" in note]
    wrong = judge(of, made, names, totals(names, groups, 15_000))
    assert wrong.held_back is not None and wrong.held_back.is_wrong
    assert sentence(wrong).startswith("Do not compare with the holdback yet, because 6.67% of the users are in it")


def test_too_few_users_have_no_lift_however_many_decisions_they_have() -> None:
    made, of = world(flat(0.05), flat(0.08)), bandit()
    names = group_names(of, made)
    found = judge(of, made, names, totals(names, {"cf": (5_000, 300, 5_000), "vae": (90, 40, 90)}, 5_090))
    assert found.comparisons[0].problem is not None and "as much as 90" in found.comparisons[0].problem


def test_the_document_has_no_infinity() -> None:
    rows = {("*", arm, 1): row([(n, n // 20)] * WEEK, flat(0.5)) for arm, n in (("cf", 1_000), ("vae", 99_000))}
    document = as_document(judged(snapshot(rows)))
    assert document["exposure"] == {"e_value": None, "verdict": "mismatch", "arm": "vae", "unit": "decisions"}
