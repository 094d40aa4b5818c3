"""Snapshots: what they say, byte for byte the same for the same totals, and what a new clock changes."""

from __future__ import annotations

import json

from pipelines.reward_stream.publishing.snapshot import bandit_content, document, stream_content
from pipelines.reward_stream.totals.counters import OUTCOMES, counters_document, home
from pipelines.reward_stream.totals.ledger import Ledger
from pipelines.reward_stream.totals.segments import Segments
from serving_client.contracts.times import BEFORE_ALL_US
from tests.reward_stream.publisher_setup import SECOND, T0, bandits, label, sums
from transforms.attribution.joining.delta import Delta


def filled() -> Ledger:
    made = Ledger(Segments())
    made.follow(bandits())
    made.add(Delta({("row", 1, "counted"): 3}, {label(): sums(2, 1), label("b"): sums(1)}))
    made.standings.replace(0, {label(): 4}, {label(): T0 + 1}, {label(): T0})
    return made


def written(watermark_us: int = T0, version: int = 1, now_us: int = T0, *, final: bool = False) -> dict[str, object]:
    content = bandit_content(bandits().bandits["row"], filled(), watermark_us, final=final, rolled_back=())
    found: dict[str, object] = json.loads(document(content, version, now_us))
    return found


def test_only_four_fields_depend_on_when_it_is_published() -> None:
    one, two = written(), written(T0 + SECOND, 2, T0 + 9 * SECOND)
    assert {key for key in one if one[key] != two[key]} == {"version", "published_at", "watermark", "event_time_lag"}
    assert two["event_time_lag"] == 8.0


def test_before_any_event_there_is_no_watermark() -> None:
    snapshot = written(BEFORE_ALL_US - 5 * SECOND)
    assert snapshot["watermark"] is None and snapshot["event_time_lag"] is None


def test_a_final_watermark_is_past_the_window_of_the_newest_decision_and_never_behind_the_stream() -> None:
    assert written(final=True)["watermark"] == "2026-11-24T06:00:20.000000Z"
    assert written(T0 + 60 * SECOND, final=True)["watermark"] == "2026-11-24T06:01:00.000000Z"
    stream = stream_content(bandits(), filled(), T0, final=True, heard_us={"rewards": T0})
    assert stream.watermark_us == T0 + 20 * SECOND


def test_a_live_snapshot_of_the_stream_tells_when_each_source_delivered_and_a_final_one_does_not() -> None:
    for final, found in ((False, {"rewards": "2026-11-24T06:00:00.000000Z"}), (True, None)):
        content = stream_content(bandits(), filled(), T0, final=final, heard_us={"rewards": T0})
        assert json.loads(document(content, 1, T0)).get("delivered_at") == found


def test_every_counter_is_written_zeros_included() -> None:
    counters = written()["counters"]
    assert isinstance(counters, dict)
    assert set(counters) == {*OUTCOMES, "conflicting_duplicates", "segments_over_limit"} and counters["counted"] == 3
    assert counters_document({"new_outcome": 1})["new_outcome"] == 1


def test_a_counter_belongs_to_its_bandit_while_its_epoch_lasts() -> None:
    epochs = {"row": 2}
    assert home("row", 2, "counted", epochs) == "row"
    assert home("row", 1, "old_epoch", epochs) == "row"
    assert home("row", 1, "counted", epochs) is None
    assert home("other", 1, "unknown_bandit", epochs) == "_stream"
    assert home("", 0, "orphan", epochs) == "_stream"


def test_an_entry_of_rolled_back_leaves_when_the_generation_changes() -> None:
    bandit = bandits().bandits["row"]
    entries = [{"arm": "b", "generation": generation, "reason": "", "at": ""} for generation in (1, 2)]
    for entry in entries:
        content = bandit_content(bandit, filled(), T0, final=False, rolled_back=[entry])
        assert (list(content.rolled_back) == [entry]) == (entry["generation"] == 1)
