"""The oracle of reward_stream against truths worked by hand: one rule of the specification at a time."""

from __future__ import annotations

import base64
import copy
import json
import pathlib
import random
import struct
from typing import Any

import pytest

from examples.reward_stream.records import format_us, is_decision, is_reward, parse_line, time_us
from tests.oracles import oracle
from tests.oracles.ranks import rank_of
from tests.oracles.sums import Sums
from tests.oracles.tally import OUTCOMES, STREAM

Record = dict[str, Any]

NOON = time_us("2026-01-05T12:00:00Z")
FEATURES = [
    {"name": "age", "type": "numeric"},
    {"name": "topic", "type": "categorical", "buckets": 1, "from": "item"},
]


def bandits(**changes: Any) -> Record:
    """One bandit `row`, epoch 2, arms a (generation 2) and b; window 20 s, max_future 5 s. changes: of attribution."""
    attribution = {"window": "20s", "allowed_lateness": "40s", "max_future": "5s", **changes}
    row = {
        "policy_epoch": 2,
        "default_arm": "a",
        "arms": {"a": {"generation": 2, "model": "a"}, "b": {"generation": 1, "model": "b"}},
        "policy": {"kind": "epsilon_greedy"},
        "attribution": attribution,
        "segments": ["plan"],
    }
    return {"bandits": {"row": row}}


def at(seconds: float) -> str:
    return format_us(NOON + round(seconds * 1_000_000))


def decision(name: str, seconds: float = 0, **fields: Any) -> Record:
    return {
        "decision_id": name,
        "bandit_id": "row",
        "policy_epoch": 2,
        "segment": "free",
        "arm_id": "a",
        "arm_generation": 2,
        "propensity": 0.5,
        "decided_at": at(seconds),
        **fields,
    }


def reward(of: str, name: str, seconds: float = 1, value: float = 1, kind: str = "click", **fields: Any) -> Record:
    return {
        "event_id": name,
        "decision_id": of,
        "kind": kind,
        "value": value,
        "occurred_at": at(seconds),
        **fields,
    }


def rows(truth: Record, bandit_id: str = "row") -> dict[tuple[str, str, int], Record]:
    return {(row["segment"], row["arm_id"], row["arm_generation"]): row for row in truth[bandit_id]["arms"]}


def outcomes(truth: Record, owner: str = "row") -> dict[str, int]:
    """Counters that are not 0."""
    return {name: count for name, count in truth[owner]["counters"].items() if count}


def one_row(document: Record, decisions: list[Record], rewards: list[Record]) -> Record:
    return rows(oracle.statistics(document, decisions, rewards))["*", "a", 2]


def test_a_decision_counts_once_in_its_segment_and_once_in_all() -> None:
    """d1, d2 in free with rewards 1 and none, d3 in pro with 1: free n 2 r 1, pro n 1 r 1, * n 3 r 2."""
    decisions = [decision("d1"), decision("d2"), decision("d3", segment="pro")]
    truth = oracle.statistics(bandits(), decisions, [reward("d1", "e"), reward("d3", "e")])
    assert {key[0]: (row["n"], row["sum_r"], row["sum_r2"]) for key, row in rows(truth).items()} == {
        "*": (3, 2.0, 2.0),
        "free": (2, 1.0, 1.0),
        "pro": (1, 1.0, 1.0),
    }
    assert outcomes(truth) == {"counted": 5}
    assert outcomes(truth, STREAM) == {}


def test_a_decision_of_the_segment_of_all_counts_once() -> None:
    truth = oracle.statistics(bandits(), [decision("d", segment="*")], [])
    assert [(key, row["n"]) for key, row in rows(truth).items()] == [(("*", "a", 2), 1)]


@pytest.mark.parametrize(
    ("aggregate", "micro_units", "of_squares"),
    [("any", 1.0, 1.0), ("first", -0.5, 0.25), ("sum", 2.5, 6.25), ("max", 3.0, 9.0)],
)
def test_rewards_of_a_decision_become_one(aggregate: str, micro_units: float, of_squares: float) -> None:
    """-0.5 at 1 s (event b), 3 at 1 s (event c), 0 at 2 s: any 1, first -0.5 (b before c), sum 2.5, max 3."""
    rewards = [reward("d", "c", 1, 3), reward("d", "b", 1, -0.5), reward("d", "a", 2, 0)]
    row = one_row(bandits(aggregate=aggregate), [decision("d")], rewards)
    assert (row["n"], row["sum_r"], row["sum_r2"], row["kinds"]) == (1, micro_units, of_squares, {"click": 3})


@pytest.mark.parametrize("aggregate", ["any", "first", "sum", "max"])
def test_without_a_reward_it_is_zero_and_the_largest_of_negative_ones_is_negative(aggregate: str) -> None:
    """max of -2 and -3 is -2, any is 0, first (-3 at 1 s) -3, sum -5."""
    assert one_row(bandits(aggregate=aggregate), [decision("d")], [])["sum_r"] == 0.0
    row = one_row(bandits(aggregate=aggregate), [decision("d")], [reward("d", "a", 1, -3), reward("d", "b", 2, -2)])
    assert row["sum_r"] == {"any": 0.0, "first": -3.0, "sum": -5.0, "max": -2.0}[aggregate]


def test_both_ends_of_the_window_are_inside() -> None:
    """Decided at 0: -5 s and 20 s are inside, a microsecond further is not."""
    inside = [reward("d", "a", -5), reward("d", "b", 20)]
    outside = [reward("d", "c", -5.000001), reward("d", "e", 20.000001)]
    truth = oracle.statistics(bandits(aggregate="sum"), [decision("d")], inside + outside)
    assert rows(truth)["*", "a", 2]["sum_r"] == 2.0
    assert outcomes(truth) == {"counted": 3, "outside_window": 2}


def test_the_newest_event_is_that_of_what_is_counted() -> None:
    """A reward at 20 s counts, one at 21 s does not; alone a decision is its own newest event, a fallback has none."""
    rewards = [reward("d", "a", 20), reward("d", "b", 21)]
    truth = oracle.statistics(
        bandits(),
        [decision("d"), decision("f", 50, segment="pro", arm_id="b", arm_generation=1, served_by="a")],
        rewards,
    )
    assert rows(truth)["free", "a", 2]["max_event_ts"] == "2026-01-05T12:00:20.000000Z"
    assert rows(truth)["pro", "b", 1]["max_event_ts"] is None


def test_kinds_that_are_no_reward_are_tallied_and_ignored() -> None:
    rewards = [reward("d", "a", kind="hover"), reward("d", "b", kind="impression"), reward("d", "c", 30, kind="hover")]
    truth = oracle.statistics(bandits(), [decision("d")], rewards)
    row = rows(truth)["*", "a", 2]
    assert (row["sum_r"], row["kinds"]) == (0.0, {"hover": 1, "impression": 1})
    assert outcomes(truth) == {"counted": 1, "ignored_kind": 2, "outside_window": 1}


def test_where_impressions_are_the_denominator_only_the_exposed_count() -> None:
    """d1 exposed with a click; d2 with a click alone, d3 exposed too late: unexposed, with their rewards (1 and 1)."""
    decisions = [decision("d1"), decision("d2"), decision("d3")]
    rewards = [
        reward("d1", "i", kind="impression"),
        reward("d1", "c"),
        reward("d2", "c"),
        reward("d3", "i", 21, kind="impression"),
    ]
    truth = oracle.statistics(bandits(denominator="impressions"), decisions, rewards)
    assert outcomes(truth) == {"counted": 3, "unexposed": 4}
    row = rows(truth)["*", "a", 2]
    assert (row["n"], row["sum_r"], row["kinds"]) == (1, 1.0, {"impression": 1, "click": 1})


def test_failures_are_counted_by_the_arm_that_was_drawn_and_enter_no_n() -> None:
    decisions = [decision("d1", served_by="b"), decision("d2", served_by="a")]
    truth = oracle.statistics(bandits(), decisions, [reward("d1", "e")])
    assert {key: (row["n"], row["fallbacks"]) for key, row in rows(truth).items()} == {
        ("*", "a", 2): (1, 1),
        ("free", "a", 2): (1, 1),
    }
    assert outcomes(truth) == {"fallback": 2, "counted": 1}


def test_a_bot_s_verdict_is_that_of_its_rewards_and_comes_before_failure() -> None:
    truth = oracle.statistics(
        bandits(), [decision("d", bot=True, served_by="b")], [reward("d", "e"), reward("d", "f", 99)]
    )
    assert outcomes(truth) == {"bot": 3}
    assert rows(truth) == {}


def test_the_holdback_share_counts_in_rows_of_its_own_alone() -> None:
    """d1 has a click and a late one, d2 names the segment itself; d3 failed; d4 is of no share."""
    decisions = [
        decision("d1", holdback=True),
        decision("d2", segment="*holdback"),
        decision("d3", holdback=True, served_by="b"),
        decision("d4"),
    ]
    truth = oracle.statistics(bandits(), decisions, [reward("d1", "e"), reward("d1", "f", 99), reward("d3", "e")])
    assert outcomes(truth) == {"holdback": 4, "fallback": 2, "counted": 1}
    assert {key: (row["n"], row["sum_r"], row["fallbacks"]) for key, row in rows(truth).items()} == {
        ("*", "a", 2): (1, 0.0, 0),
        ("*holdback", "a", 2): (2, 1.0, 1),
        ("free", "a", 2): (1, 0.0, 0),
    }


@pytest.mark.parametrize(
    ("fields", "outcome", "owner"),
    [
        ({"bandit_id": "gone", "policy_epoch": 9}, "unknown_bandit", STREAM),
        ({"policy_epoch": 1, "arm_id": "gone"}, "old_epoch", "row"),
        ({"policy_epoch": 3}, "unknown_epoch", "row"),
        ({"arm_id": "gone", "arm_generation": 9}, "unknown_arm", "row"),
        ({"arm_generation": 3}, "unknown_generation", "row"),
    ],
)
def test_what_the_file_does_not_know_has_its_outcome_with_its_rewards(fields: Record, outcome: str, owner: str) -> None:
    truth = oracle.statistics(bandits(), [decision("d", bot=True, **fields)], [reward("d", "e"), reward("d", "f", 99)])
    assert outcomes(truth, owner) == {outcome: 3}
    assert rows(truth) == {}


def test_an_old_generation_keeps_its_own_row() -> None:
    truth = oracle.statistics(bandits(), [decision("d", arm_generation=1)], [])
    assert sorted(rows(truth)) == [("*", "a", 1), ("free", "a", 1)]


def test_old_generations_leave_when_they_are_too_old_and_active_ones_stay() -> None:
    """Generation 1 of a and the active b were last decided 2 days before the newest; 1 day is kept: b alone stays."""
    document = bandits()
    document["bandits"]["row"]["retain_generations"] = "1d"
    old = [decision("d1", arm_generation=1), decision("d2", arm_id="b", arm_generation=1)]
    truth = oracle.statistics(document, [*old, decision("d3", 2 * 86_400)], [])
    assert [key[1:] for key in rows(truth) if key[0] == "*"] == [("a", 2), ("b", 1)]


def test_equal_copies_are_duplicates_and_change_nothing() -> None:
    decisions, rewards = [decision("d")] * 3, [reward("d", "e")] * 2
    truth = oracle.statistics(bandits(aggregate="sum"), decisions, rewards)
    assert outcomes(truth) == {"counted": 2, "duplicate": 3}
    assert rows(truth)["*", "a", 2]["sum_r"] == 1.0


def test_an_event_id_is_that_of_its_decision_alone() -> None:
    truth = oracle.statistics(bandits(), [decision("d1"), decision("d2")], [reward("d1", "e"), reward("d2", "e")])
    assert outcomes(truth) == {"counted": 4}


def test_of_contradictions_the_earliest_wins_and_each_id_is_one_conflict() -> None:
    """d at 0 s in arm b beats d at 1 s in arm a (twice); e at 1 s with 5 beats e at 2 s with 7."""
    decisions = [decision("d", 1), decision("d", 0, arm_id="b", arm_generation=1), decision("d", 1)]
    truth = oracle.statistics(bandits(aggregate="sum"), decisions, [reward("d", "e", 2, 7), reward("d", "e", 1, 5)])
    assert {key: row["sum_r"] for key, row in rows(truth).items()} == {("*", "b", 1): 5.0, ("free", "b", 1): 5.0}
    assert outcomes(truth) == {"counted": 2, "duplicate": 3, "conflicting_duplicates": 2}


def test_of_contradictions_about_one_moment_the_smaller_hash_wins() -> None:
    """The bytes that are hashed for a value of 1, in hexadecimal (`xxd -r -p | b2sum -l 64` says dcbf8747…):

    0101000000650101000000640105000000636c69636b01000000000000f03f
    011b000000323032362d30312d30355431323a30303a30312e3030303030305a000000

    With a value of 2 the float64 is 0000000000000040 and the digest b2f43402…: 2 wins.
    """
    one, two = reward("d", "e", 1, 1), reward("d", "e", 1, 2)
    assert (rank_of(one), rank_of(two)) == (0xDCBF8747BAE5D424, 0xB2F434022761D354)
    assert one_row(bandits(aggregate="sum"), [decision("d")], [one, two])["sum_r"] == 2.0


def test_a_contradiction_counts_where_the_winner_does() -> None:
    """The earlier one is of no known bandit: all of it is counted in the stream's snapshot."""
    decisions = [decision("d", 0, bandit_id="gone"), decision("d", 1)]
    truth = oracle.statistics(bandits(), decisions, [reward("d", "e")])
    assert outcomes(truth) == {}
    assert outcomes(truth, STREAM) == {"unknown_bandit": 3, "conflicting_duplicates": 1}


def test_a_copy_of_what_is_unknown_is_unknown_again() -> None:
    """`unknown_arm` comes before `duplicate` in a decision's list of outcomes; a reward's copy is a duplicate."""
    decisions, rewards = [decision("d", arm_id="gone")] * 2, [reward("d", "e")] * 2
    truth = oracle.statistics(bandits(), decisions, rewards)
    assert outcomes(truth) == {"unknown_arm": 3, "duplicate": 1}


def test_rewards_without_a_decision_are_orphans_of_the_stream() -> None:
    rewards = [reward("x", "e"), reward("x", "e"), reward("x", "f", 2), reward("x", "f", 1)]
    truth = oracle.statistics(bandits(), [], rewards)
    assert outcomes(truth, STREAM) == {"orphan": 2, "duplicate": 2, "conflicting_duplicates": 1}


def test_an_event_after_its_arrival_by_more_than_the_largest_max_future_is_future() -> None:
    """Largest max_future 5 s: 5 s ahead is taken, a microsecond more is not; that decision's rewards are orphans."""
    decisions = [decision("d1", 5, received_at=at(0)), decision("d2", 5.000001, received_at=at(0))]
    rewards = [reward("d2", "e"), reward("d1", "e", 9, received_at=at(3))]
    truth = oracle.statistics(bandits(), decisions, rewards)
    assert outcomes(truth) == {"counted": 1, "future": 1}
    assert outcomes(truth, STREAM) == {"orphan": 1, "future": 1}


def test_without_an_arrival_the_reading_clock_says_what_is_future() -> None:
    truth = oracle.statistics(bandits(), [decision("d", 10)], [], read_at_us=NOON)
    assert outcomes(truth) == {"future": 1}


def test_a_decision_of_no_known_bandit_from_the_future_is_the_stream_s() -> None:
    truth = oracle.statistics(bandits(), [decision("d", 9, bandit_id="gone", received_at=at(0))], [])
    assert outcomes(truth, STREAM) == {"future": 1}


def test_records_that_were_late_are_counted_and_left_out() -> None:
    truth = oracle.statistics(bandits(), [decision("d")], [reward("x", "e")], late=["d", "x"])
    assert (outcomes(truth), outcomes(truth, STREAM), rows(truth)) == ({"late": 1}, {"late": 1}, {})


def test_broken_records_and_lines_are_the_stream_s() -> None:
    truth = oracle.statistics(
        bandits(), [decision("d", propensity=2)], [reward("d", "e", value=0.1234567)], malformed=3
    )
    assert outcomes(truth, STREAM) == {"malformed": 5}


def test_inverse_propensities_are_summed_with_their_squares() -> None:
    """p 0.5 with reward 1 (w 2), p 0.25 with 0 (w 4), p 0: n 2, w 6, w^2 4 + 16, w r 2, (w r)^2 4, one missing."""
    decisions = [decision("d1"), decision("d2", propensity=0.25), decision("d3", propensity=0)]
    row = one_row(bandits(), decisions, [reward("d1", "e"), reward("d3", "e")])
    assert row["ipw"] == {"n": 2, "sum_w": 6.0, "sum_w2": 20.0, "sum_wr": 2.0, "sum_w2r2": 4.0, "missing": 1}
    assert (row["n"], row["sum_r"]) == (3, 2.0)


def test_decay_refers_to_the_next_multiple_of_the_half_life() -> None:
    """Half-life 10 s. Decided at 12:00:00 (reward 3), :10 (1) and :15 (0): reference :20.

    Weights 2^-2, 2^-1, 2^-0.5: w .75 + 0.7071…, w r .75 + .5, w r^2 2.25 + .5.
    """
    document = bandits(aggregate="sum")
    document["bandits"]["row"]["half_lives"] = ["10s"]
    decisions = [decision("d1"), decision("d2", 10), decision("d3", 15)]
    row = one_row(document, decisions, [reward("d1", "e", value=3), reward("d2", "e", 11)])
    assert row["decayed"] == {
        "10s": {"reference_time": "2026-01-05T12:00:20.000000Z", "w": 0.75 + 2**-0.5, "w_r": 1.25, "w_r2": 2.75}
    }


def test_an_arm_that_is_only_served_in_failure_has_no_decay_to_refer_to() -> None:
    document = bandits()
    document["bandits"]["row"]["half_lives"] = ["1h"]
    row = one_row(document, [decision("d", served_by="b")], [])
    assert row["decayed"] == {"1h": {"reference_time": None, "w": 0.0, "w_r": 0.0, "w_r2": 0.0}}
    assert row["hours"] == []


def test_the_last_hours_are_kept_the_newest_included() -> None:
    """Two hours kept; decided at 12:00, 13:59:59 and 14:00: the newest is 14 h, so 13 and 14 are kept."""
    document = bandits()
    document["bandits"]["row"]["hours_kept"] = 2
    decisions = [decision("d1"), decision("d2", 7_199), decision("d3", 7_200), decision("d4", 7_200)]
    row = one_row(document, decisions, [reward("d3", "e", 7_201)])
    assert row["hours"] == [
        {"start": "2026-01-05T13:00:00.000000Z", "n": 1, "sum_r": 0.0, "sum_r2": 0.0},
        {"start": "2026-01-05T14:00:00.000000Z", "n": 2, "sum_r": 1.0, "sum_r2": 1.0},
    ]
    assert row["n"] == 4


def test_features_are_summed_in_units_of_a_1024th() -> None:
    """x (1.5, 1, 0) with reward 2 and (-1, 0, 1) with 0: xx 3.25, x1 1.5, x2 -1, 1, 0, 1; xr 3, 2, 0.

    0.00048828125 is half a unit, rounds to the even 0; a vector of another length or schema is left out.
    """
    document = bandits(aggregate="sum")
    document["bandits"]["row"]["features"] = FEATURES
    schema = oracle.statistics(document, [decision("d")], [])["row"]["arms"][0]["lin"]["schema"]
    decisions = [
        decision("d1", features=[1.5, 1, 0], feature_schema=schema),
        decision("d2", features=[-1, 0, 1], feature_schema=schema),
        decision("d3", features=[0.00048828125, 0, 0], feature_schema=schema),
        decision("d4", features=[9, 9], feature_schema=schema),
        decision("d5", features=[9, 9, 9], feature_schema="other"),
        decision("d6", features=[9, 9, 9]),
        decision("d7"),
    ]
    row = one_row(document, decisions, [reward("d1", "e", value=2), reward("d5", "e")])
    assert row["n"] == 7
    assert row["lin"]["d"] == 3
    assert struct.unpack("<6d", base64.b64decode(row["lin"]["xtx"])) == (3.25, 1.5, -1.0, 1.0, 0.0, 1.0)
    assert struct.unpack("<3d", base64.b64decode(row["lin"]["xtr"])) == (3.0, 2.0, 0.0)


def test_a_thousand_tenths_are_a_hundred() -> None:
    """A sum of millionths, rounded once; adding 0.1 a thousand times as float64 gives 99.9999999999986."""
    rewards = [reward(f"d{n}", "e", value=0.1) for n in range(1_000)]
    row = one_row(bandits(aggregate="sum"), [decision(f"d{n}") for n in range(1_000)], rewards)
    assert (row["sum_r"], row["sum_r2"]) == (100.0, 10.0)


def test_more_segments_than_have_rows_are_refused() -> None:
    document = bandits()
    document["bandits"]["row"]["max_segments"] = 1
    with pytest.raises(ValueError, match="row has 2 segments; which 1 count is open"):
        oracle.statistics(document, [decision("d1"), decision("d2", segment="pro")], [])


def test_order_does_not_matter_and_outcomes_add_up_to_the_records() -> None:
    decisions = [
        decision(
            f"d{n % 40}", n % 7, arm_id="ab"[n % 2], arm_generation=1, propensity=0.1 + n % 9 / 10, bot=n % 11 == 0
        )
        for n in range(60)
    ]
    rewards = [reward(f"d{n % 50}", f"e{n % 3}", n % 29 - 4, n % 5 / 10) for n in range(90)]
    document = bandits(aggregate="sum")
    document["bandits"]["row"]["half_lives"] = ["7s", "1h"]
    truth = oracle.statistics(document, decisions, rewards)
    assert sum(truth[owner]["counters"][name] for owner in truth for name in OUTCOMES) == 150
    rng = random.Random(3)
    for _ in range(5):
        rng.shuffle(decisions)
        rng.shuffle(rewards)
        assert oracle.statistics(document, copy.deepcopy(decisions), rewards) == truth


def test_a_document_says_what_a_final_snapshot_says() -> None:
    truth = oracle.statistics(bandits(), [decision("d")], [])
    assert set(truth) == {"row", STREAM}
    assert set(truth["row"]) == {
        "schema_version", "bandit_id", "policy_epoch", "final", "arms", "rolled_back", "counters",
    }  # fmt: skip
    assert set(truth["row"]["counters"]) == {*OUTCOMES, "conflicting_duplicates", "segments_over_limit"}
    assert set(truth[STREAM]) == {"schema_version", "bandit_id", "final", "counters"}
    published = {**truth["row"], "version": 3, "published_at": at(0), "watermark": at(0), "event_time_lag": 0.0}
    assert oracle.comparable({**published, "config_hash": "00"}) == truth["row"]


def test_sums_of_floats_are_exact() -> None:
    """1e16 + 1 + 1 - as weights 1/p - loses nothing: 1e16 + 2, where float64 in turn would stay at 1e16."""
    document = bandits()
    decisions = [decision("d1", propensity=1e-16), decision("d2", propensity=1), decision("d3", propensity=1)]
    assert one_row(document, decisions, [])["ipw"]["sum_w"] == 1e16 + 2


def test_rows_add_up() -> None:
    one, two, both = Sums(), Sums(), Sums()
    config = next(iter(oracle.Tally(bandits()).configs.values()))
    for sums in (one, both):
        sums.count(config, NOON, 250_000, 0.3, None)
    for sums in (two, both):
        sums.count(config, NOON + 5, -1, 0.7, None)
    two.add(one)
    assert two == both


@pytest.mark.parametrize(
    ("line", "is_object"),
    [
        (b'{"a": 1}', True),
        (b"[]", False),
        (b'{"a": NaN}', False),
        (b'{"a": "\\ud800"}', False),
        (b"\xff", False),
        (b"", False),
    ],
)
def test_only_json_objects_are_read(line: bytes, is_object: bool) -> None:
    assert (parse_line(line) is not None) == is_object


@pytest.mark.parametrize(
    "fields",
    [
        {"decision_id": ""}, {"decision_id": "a\nb"}, {"decision_id": "x" * 1025}, {"bandit_id": None}, {"segment": 1},
        {"policy_epoch": 1.0}, {"policy_epoch": True}, {"propensity": 1.01}, {"propensity": "1"},
        {"decided_at": "2026-02-29T00:00:00Z"}, {"decided_at": "2026-01-05T00:00:00+01:00"}, {"received_at": "now"},
        {"bot": 1}, {"holdback": 1}, {"features": [1, "2"]}, {"features": [2e9]}, {"items": [""]},
        {"propensities": {"a": None}}, {"context": []}, {"served_by": ""}, {"model_version": 1.5},
    ],
)  # fmt: skip
def test_a_decision_with_a_wrong_field_is_none(fields: Record) -> None:
    assert is_decision(decision("d", received_at=None, model_version="v1", more={"x": 1}))
    assert not is_decision(decision("d", **fields))


@pytest.mark.parametrize(
    "fields",
    [{"value": 1e9 + 1}, {"value": 0.0000001}, {"value": 0.1 + 0.2}, {"value": True}, {"kind": ""}, {"position": 1.0}],
)
def test_a_reward_with_a_wrong_field_is_none(fields: Record) -> None:
    assert all(is_reward(reward("d", "e", value=value)) for value in (0, -1e9, 0.000001, 999999999.999999, 1e8))
    assert not is_reward({**reward("d", "e"), **fields})


def test_the_command_says_whether_the_written_truth_agrees(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, records in (("decisions", [decision("d")]), ("rewards", [reward("d", "e")])):
        (tmp_path / name).mkdir()
        lines = [*map(json.dumps, records), "", "broken"]
        (tmp_path / name / "part-0.jsonl").write_text("\n".join(lines))
    (tmp_path / "bandits.yaml").write_text(json.dumps(bandits()))  # JSON is YAML
    assert oracle.main([str(tmp_path)]) == 0
    truth = json.loads(capsys.readouterr().out)
    assert outcomes(truth) == {"counted": 2}
    assert outcomes(truth, STREAM) == {"malformed": 2}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    assert oracle.main([str(tmp_path)]) == 0
    assert "agrees" in capsys.readouterr().err
    truth["row"]["arms"][0]["n"] += 1
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    assert oracle.main([str(tmp_path)]) == 1
    assert "DIFFERS" in capsys.readouterr().err
