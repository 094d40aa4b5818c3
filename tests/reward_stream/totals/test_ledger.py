"""Ledgers: sums and counters by epoch, whatever the order, through a state and back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipelines.reward_stream.totals.ledger import Ledger
from pipelines.reward_stream.totals.segments import Segments
from serving_client.bandits_file import parse_bytes
from serving_client.contracts.bandits import Bandits
from tests.reward_stream.publisher_setup import T0, bandits, bandits_bytes, label, sums
from transforms.attribution.joining.delta import Delta
from transforms.attribution.rules import HOLDBACK, Label
from transforms.attribution.statistics.exact import Exact
from transforms.attribution.statistics.rows import HOUR_US, Decayed, RowSums


def ledger(file: Bandits | None = None) -> Ledger:
    made = Ledger(Segments())
    made.follow(file or bandits())
    return made


def shown(made: Ledger, file: Bandits | None = None) -> list[tuple[str, str, int, int]]:
    rows = made.rows((file or bandits()).bandits["row"])
    return [(row.label.segment, row.label.arm_id, row.sums.n, row.pending) for row in rows]


labels = st.builds(label, st.sampled_from("ab"), st.sampled_from(["s1", "s2"]))
deltas = st.lists(st.tuples(labels, st.integers(-3, 9), st.integers(0, 5)), min_size=1, max_size=12)


@given(data=st.data(), parts=deltas)
def test_deltas_in_any_order_give_the_same_state(data: st.DataObject, parts: list[tuple[Label, int, int]]) -> None:
    """Segments that are admitted already: which come first is a matter of order."""

    def add_all(given: list[tuple[Label, int, int]]) -> Ledger:
        made = Ledger(Segments({"row": ["s1", "s2"]}))
        made.follow(bandits())
        for key, n, clicks in given:
            made.add(Delta({("row", 1, "counted"): n}, {key: sums(n, clicks)}))
        return made

    one, two = add_all(parts), add_all(data.draw(st.permutations(parts)))
    assert one.to_state() == two.to_state()
    again = Ledger.from_state(one.to_state(), Segments({"row": ["s1", "s2"]}))
    assert again.to_state() == one.to_state() and shown(again) == shown(one)


def test_a_delta_does_not_change_when_others_are_added_to_its_row() -> None:
    made, delta = ledger(), Delta(rows={label(): sums(1)})
    made.add(delta)
    made.add(delta)
    assert delta.rows[label()].n == 1 and shown(made) == [("*", "a", 2, 0), ("free", "a", 2, 0)]


def test_what_corrections_empty_was_never_there() -> None:
    made = ledger()
    made.add(Delta(rows={label(): sums(2, 1)}))
    made.add(Delta(rows={label(): sums(-2, -1)}))
    assert shown(made) == []


def test_counters_go_to_their_bandit_or_to_the_stream() -> None:
    made = ledger()
    changed = made.count({("row", 1, "late"): 2, ("", 0, "orphan"): 1, ("other", 1, "unknown_bandit"): 3})
    assert changed == {"row", "_stream"}
    assert made.counters("row") == {"late": 2}
    assert made.counters("_stream") == {"orphan": 1, "unknown_bandit": 3}


def test_an_old_epoch_is_counted_as_such_and_its_rows_are_left_out() -> None:
    file = bandits(epoch=2)
    made = ledger(file)
    made.add(Delta({("row", 1, "old_epoch"): 1, ("row", 1, "counted"): -1}, {label(epoch=1): sums(5)}))
    assert shown(made, file) == [] and made.counters("row") == {"old_epoch": 1}


def test_pending_decisions_show_a_row_before_any_is_counted() -> None:
    made = ledger()
    made.standings.replace(0, {label(): 2}, {}, {})
    made.standings.replace(1, {label(): 3}, {}, {})
    assert shown(made) == [("*", "a", 0, 5), ("free", "a", 0, 5)]
    made.standings.replace(1, {}, {}, {})
    assert shown(made) == [("*", "a", 0, 2), ("free", "a", 0, 2)]


def retired() -> Bandits:
    text = bandits_bytes().replace(b"b: {generation: 1, model: m}", b"b: {generation: 1, model: m, state: retired}")
    return parse_bytes(text.replace(b"max_segments: 3", b"max_segments: 3\n    retain_generations: 1h"), "test")


def test_rows_of_a_retired_arm_leave_after_retain_generations_and_not_before() -> None:
    file = retired()
    made = ledger(file)
    made.add(Delta(rows={label("b"): sums(1), label("a"): sums(1)}))
    for newest_us, arms in ((T0 + HOUR_US, "ab"), (T0 + HOUR_US + 1, "a")):
        made.standings.replace(0, {}, {}, {label("b"): T0, label("a"): newest_us})
        assert sorted({row.label.arm_id for row in made.rows(file.bandits["row"])}) == list(arms)


def test_the_holdback_share_has_rows_of_its_own_and_takes_no_segments_room() -> None:
    made, held = Ledger(Segments({"row": [f"s{at}" for at in range(3)]})), label()._replace(segment=HOLDBACK)
    made.follow(bandits())
    made.add(Delta({("row", 1, "holdback"): 3}, {held: sums(2, 1)}))
    made.standings.replace(0, {held: 4}, {held: T0}, {held: T0})
    assert shown(made) == [("*holdback", "a", 2, 4)]
    assert made.counters("row") == {"holdback": 3} and made.newest_decided_us(bandits().bandits["row"]) == T0
    state = made.to_state()["bandits"]["row"]
    assert (len(state["rows"]), [each[0] for each in state["maxima"]]) == (1, ["*holdback"])


def test_an_arm_stays_while_the_holdback_share_still_gets_it() -> None:
    file, old = retired(), label("b")
    made, held = ledger(file), label("b")._replace(segment=HOLDBACK)
    made.add(Delta(rows={label("a"): sums(1), old: sums(1), held: sums(1)}))
    times = {label("a"): T0 + 2 * HOUR_US, old: T0}
    made.standings.replace(0, {}, times, {**times, held: T0 + HOUR_US})
    assert len([each for each in shown(made, file) if each[1] == "b"]) == 3
    made.standings.replace(0, {}, times, {**times, held: T0 + HOUR_US - 1})
    assert [each for each in shown(made, file) if each[1] == "b"] == []


def test_pruning_drops_hours_and_bits_that_no_reader_sees() -> None:
    text = bandits_bytes().replace(b"max_segments: 3", b"half_lives: [1h]\n    hours_kept: 2")
    file = parse_bytes(text, "test")
    made = ledger(file)
    row = RowSums(n=3)
    first = T0 // HOUR_US * HOUR_US
    row.hours = {first - age * HOUR_US: [1, 0, 0] for age in range(3)}
    row.decayed["1h"] = Decayed(w=Exact((1 << 10) + 1, T0 // HOUR_US - 1_205))  # its last bits are 2^-1205 of the first
    made.add(Delta(rows={label(): row}))
    made.standings.replace(0, {}, {}, {label(): T0})
    made.prune(file)
    (kept, _) = made.rows(file.bandits["row"])
    assert sorted(kept.sums.hours) == [first - HOUR_US, first]
    assert kept.sums.decayed["1h"].w.mantissa == 1 << 10 >> 5
