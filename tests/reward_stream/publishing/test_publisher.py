"""The publisher: whole ticks in the order of the input, each once; and what becomes of a store that refuses."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.reward_stream.publishing.checkpoint import CheckpointStore, load
from pipelines.reward_stream.sources.reports import SourceReport
from pipelines.reward_stream.steps.publish import insist
from tests.reward_stream.publisher_setup import (
    SECOND,
    T0,
    WINDOW,
    Clock,
    Letters,
    Memory,
    bandits,
    bandits_bytes,
    label,
    publisher,
    report,
    step,
    sums,
    without_clock,
)
from transforms.attribution.joining.delta import FoldResult
from transforms.dead_letters import DeadLetter
from transforms.errors import BadInput, Refused

LETTER = DeadLetter("file", 7, "orphan", b"{}")


def run_of(ticks: int) -> list[FoldResult | SourceReport]:
    """Ticks of two shards, the last one final. Tick k of shard s counts k + s decisions of a and one of b."""
    messages: list[FoldResult | SourceReport] = []
    for seq in range(ticks):
        messages.append(report(seq, T0 + seq * SECOND, records_read=4, final=seq == ticks - 1))
        for shard in range(2):
            rows = {label("a"): sums(seq + shard, seq), label("b", "paid"): sums(1)}
            messages.append(step(shard, seq, rows, at_us=T0 + seq * SECOND, pending={label("a"): 3}))
    rows = {label("a"): sums(3), label("b", "paid"): sums(0)}
    messages += [step(shard, ticks - 1, rows, at_us=T0 + ticks * SECOND, final=True) for shard in (0, 1)]
    return messages


def play(messages: list[FoldResult | SourceReport]) -> Memory:
    memory, clock = Memory(), Clock()
    made = publisher(memory, clock)
    for message in messages:
        clock.now_us += SECOND
        if isinstance(message, SourceReport):
            made.offer(message)
        else:
            made.offer(message)
    return memory


def in_another_order(data: st.DataObject, messages: list[FoldResult | SourceReport]) -> list[FoldResult | SourceReport]:
    """The source and each shard in their own order, mixed at will; some messages come again later."""
    senders = [-1 if isinstance(message, SourceReport) else message.shard for message in messages]
    turns = data.draw(st.permutations(senders))
    queues = {sender: [m for m, owner in zip(messages, senders, strict=True) if owner == sender] for sender in senders}
    mixed = [queues[sender].pop(0) for sender in turns]
    for at in sorted(data.draw(st.lists(st.integers(0, len(mixed) - 1), max_size=6)), reverse=True):
        mixed.insert(data.draw(st.integers(at + 1, len(mixed))), mixed[at])
    return mixed


@given(data=st.data())
def test_steps_in_any_order_and_more_than_once_give_the_same_final_documents(data: st.DataObject) -> None:
    messages = run_of(4)
    plain, other = play(messages), play(in_another_order(data, messages))
    for name in ("row", "_stream"):
        assert without_clock(plain.document(name)) == without_clock(other.document(name))


def test_the_final_document_adds_up_all_ticks_and_stands_after_every_window() -> None:
    """a: ticks 0..3, shards 0 and 1: sum (k + s) = 2 * 6 + 4 = 16, and 3 + 3 at the end; b: 8."""
    document = play(run_of(4)).document()
    rows = {(row["segment"], row["arm_id"]): row["n"] for row in document["arms"]}
    assert rows == {("*", "a"): 22, ("*", "b"): 8, ("free", "a"): 22, ("paid", "b"): 8}
    assert document["final"] and document["counters"]["counted"] == 30
    assert {row["pending"] for row in document["arms"]} == {0}
    assert document["watermark"] == "2026-11-24T06:00:24.000000Z"  # the newest decision, T0 + 4 s, and its window


def test_n_of_no_row_falls_between_versions() -> None:
    memory = play(run_of(6))
    last: dict[tuple[str, str], int] = {}
    for document in memory.documents():
        now = {(row["segment"], row["arm_id"]): row["n"] for row in document["arms"]}
        assert all(now[key] >= n for key, n in last.items())
        last = now


def test_a_publisher_that_goes_on_from_its_state_publishes_the_same() -> None:
    messages = run_of(5)
    for at in range(len(messages)):
        memory, clock = Memory(), Clock()
        made = publisher(memory, clock)
        for place, message in enumerate(messages):
            if place == at:
                made = publisher(memory, clock, state=made.state())
            if isinstance(message, SourceReport):
                made.offer(message)
            else:
                made.offer(message)
        assert without_clock(memory.document()) == without_clock(play(messages).document())


def test_a_store_that_refuses_for_a_while_loses_nothing() -> None:
    memory, clock, letters = Memory(), Clock(), Letters()
    made = publisher(memory, clock, letters)
    for place, message in enumerate(run_of(6)):
        memory.refusing = 3 <= place < 12
        clock.now_us += SECOND
        progress = made.offer(message)
        if memory.refusing and progress.ticks:
            assert "trying again" in progress.failures[0] and not progress.versions
    assert without_clock(memory.document()) == without_clock(play(run_of(6)).document())


def test_what_the_last_tick_could_not_write_is_tried_again_with_pauses_until_it_is_written() -> None:
    memory, clock, pauses = Memory(), Clock(), list[float]()
    made = publisher(memory, clock)
    memory.refusing = True

    def sleep(pause_s: float) -> None:
        pauses.append(pause_s)
        clock.now_us += round(pause_s * SECOND)
        memory.refusing = len(pauses) < 4

    progress = [made.offer(message) for message in run_of(3)][-1]
    assert progress.ended and progress.failures
    tries = list(insist(made, progress, clock, sleep))
    assert pauses == [0.25, 0.5, 1.0, 2.0]
    assert not tries[-1].failures and memory.document()["final"]


def test_after_a_minute_of_refusals_the_end_gives_up() -> None:
    memory, clock = Memory(), Clock()
    made = publisher(memory, clock)
    memory.refusing = True
    made.offer(report(0, stop=True))
    made.offer(step(0, 0, {}))
    progress = made.offer(step(1, 0, {}))

    def sleep(pause_s: float) -> None:
        clock.now_us += round(pause_s * SECOND)

    assert [each.failures != [] for each in insist(made, progress, clock, sleep)][-1]
    assert 60 * SECOND <= clock.now_us - T0 < 70 * SECOND


def test_no_checkpoint_covers_a_dead_letter_that_could_not_be_written(tmp_path) -> None:
    memory, clock, letters = Memory(), Clock(), Letters()
    made = publisher(memory, clock, letters, shards=1, store=CheckpointStore(str(tmp_path)))
    letters.refusing = True
    made.offer(report(0))
    progress = made.offer(step(0, 0, {}, letters=(LETTER,)))
    assert progress.checkpoints == 0 and "1 dead letters were not written" in progress.failures[0]
    letters.refusing = False
    made.offer(report(1, dead_letters=(DeadLetter("file", 9, "late", b"x"),)))
    progress = made.offer(step(0, 1, {}))
    assert progress.checkpoints == 1 and progress.dead_letters == 2
    assert [letter.position for letter in letters.kept] == [7, 9]


def test_a_checkpoint_that_cannot_be_saved_is_saved_at_the_next_tick(tmp_path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    memory, clock = Memory(), Clock()
    made = publisher(memory, clock, shards=1, store=CheckpointStore(str(tmp_path / "state")))
    made.offer(report(0))
    assert "the checkpoint was not saved" in made.offer(step(0, 0, {})).failures[0]
    (tmp_path / "state").unlink()
    made.offer(report(1))
    assert made.offer(step(0, 1, {})).checkpoints == 1


def test_a_final_tick_saves_windows_as_open_as_they_were(tmp_path) -> None:
    memory, clock = Memory(), Clock()
    made = publisher(memory, clock, shards=1, store=CheckpointStore(str(tmp_path)))
    made.offer(report(0, final=True))
    made.offer(step(0, 0, {label(): sums(2)}, closed={label(): sums(1)}))
    made.offer(step(0, 0, {label(): sums(5)}, final=True))
    assert memory.document()["arms"][0]["n"] == 7
    saved = load(str(tmp_path), bandits())
    assert saved is not None
    assert saved.closed["bandits"]["row"]["rows"][0][-1]["sums"][0] == 1


def test_a_writer_that_was_overtaken_is_refused() -> None:
    memory, clock = Memory(), Clock()
    made = publisher(memory, clock, shards=1)
    made.offer(report(0))
    made.offer(step(0, 0, {label(): sums(1)}))
    memory.create("row", 2, memory.versions["row"][1])
    made.offer(report(1))
    with pytest.raises(Refused, match="row: another run publishes to the same --snapshots"):
        made.offer(step(0, 1, {label(): sums(1)}))


def test_too_many_malformed_lines_fail_a_bounded_run_before_it_publishes_and_keep_the_letters() -> None:
    memory, letters = Memory(), Letters()
    made = publisher(memory, Clock(), letters)
    bad = report(-1, records_read=100, lines_bad=2, dead_letters=(LETTER,))
    with pytest.raises(BadInput, match=r"2 of 100 lines are malformed, more than --max_bad_fraction=0\.01"):
        made.finish([step(0, -1, {label(): sums(98)}, final=True)], [bad], 0.01)
    assert not memory.versions and letters.kept == [LETTER]


def test_a_bounded_run_is_one_final_snapshot_whatever_was_there() -> None:
    memory, clock = Memory(), Clock()
    for n in (5, 4):
        publisher(memory, clock).finish([step(0, -1, {label(): sums(n)}, final=True)], [report(-1)])
    assert [(each["version"], each["arms"][0]["n"]) for each in memory.documents()] == [(1, 5), (2, 4)]
    assert all(each["final"] for each in memory.documents())


def test_unchanged_totals_are_published_at_each_heartbeat_alone() -> None:
    memory, clock = Memory(), Clock()
    made = publisher(memory, clock, shards=1)
    for seq in range(65):
        clock.now_us = T0 + seq * SECOND
        made.offer(report(seq))
        made.offer(step(0, seq, {label(): sums(1)} if seq == 0 else {}))
    assert [each["published_at"][17:19] for each in memory.documents()] == ["00", "30", "00"]


def test_a_new_policy_epoch_starts_empty_while_the_stream_runs() -> None:
    memory, clock = Memory(), Clock()
    made = publisher(memory, clock, shards=1)
    made.offer(report(0))
    made.offer(step(0, 0, {label(): sums(9)}))
    made.offer(report(1, rules=bandits_bytes(epoch=2)))
    made.offer(step(0, 1, {label(epoch=2): sums(1), label(): sums(3)}))
    document = memory.document()
    assert document["policy_epoch"] == 2 and document["arms"][0]["n"] == 1
    resumed = publisher(memory, clock, shards=1, file=bandits(epoch=2), state=made.state())
    resumed.offer(report(2))
    resumed.offer(step(0, 2, {label(epoch=2): sums(1)}))
    assert memory.document()["arms"][0]["n"] == 2
    assert made.state().rules == bandits_bytes(epoch=2)


def test_segments_beyond_the_limit_count_in_star_alone_and_are_counted() -> None:
    memory = Memory()
    rows = {label("a", segment): sums(2) for segment in ("s1", "s2", "s3", "s4")}
    publisher(memory, Clock()).finish([step(0, -1, rows, final=True)], [report(-1)])
    document = memory.document()
    assert [row["segment"] for row in document["arms"]] == ["*", "s1", "s2", "s3"]
    assert document["arms"][0]["n"] == 8 and document["counters"]["segments_over_limit"] == 2


def test_a_guardrail_that_trips_stays_in_rolled_back_until_the_generation_changes() -> None:
    file = bandits(guardrails="[{metric: fallbacks, max: 0.1}]")
    memory, clock = Memory(), Clock()
    made = publisher(memory, clock, file=file, shards=1)
    made.offer(report(0))
    made.offer(step(0, 0, {label("b"): sums(100, fallbacks=100)}))
    (entry,) = memory.document()["rolled_back"]
    assert (entry["arm"], entry["generation"], entry["at"]) == ("b", 1, "2026-11-24T06:00:00.000000Z")
    made.offer(report(1, T0 + WINDOW))
    made.offer(step(0, 1, {label("b"): sums(100_000)}))  # now far below the limit
    assert memory.document()["rolled_back"] == [entry]
    again = publisher(memory, clock, file=file, shards=1)  # another run takes it from the last snapshot
    again.offer(report(0, T0 + WINDOW))
    again.offer(step(0, 0, {label("b"): sums(200_000)}))
    assert memory.document()["rolled_back"] == [entry]


def test_the_documents_keep_their_schema() -> None:
    import jsonschema

    from serving_client.contracts.schemas import load as schema

    memory = play(run_of(3))
    for name, kind in (("row", "snapshot"), ("_stream", "stream_snapshot")):
        for document in memory.documents(name):
            jsonschema.Draft202012Validator(schema(kind)).validate(document)
            assert json.loads(json.dumps(document)) == document
