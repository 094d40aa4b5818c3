"""After a restart nothing is published before the run knows what its last snapshot said."""

from __future__ import annotations

from tests.reward_stream.publisher_setup import SECOND, T0, Clock, Memory, bandits, label, publisher, report, step, sums


def first_run(memory: Memory, clock: Clock, *, n: int = 10, watermark_us: int = T0) -> None:
    made = publisher(memory, clock, shards=1)
    made.offer(report(0, watermark_us))
    made.offer(step(0, 0, {label(): sums(n)}))


def test_nothing_is_published_until_the_watermark_of_the_last_snapshot_is_reached() -> None:
    memory, clock = Memory(), Clock()
    first_run(memory, clock, n=10, watermark_us=T0 + 60 * SECOND)
    again = publisher(memory, clock, shards=1)
    for seq, seconds in enumerate((0, 30, 59)):
        again.offer(report(seq, T0 + seconds * SECOND))
        progress = again.offer(step(0, seq, {label(): sums(3)}))
        assert not progress.versions and progress.held == ["row", "_stream"]
    again.offer(report(3, T0 + 60 * SECOND))
    assert len(again.offer(step(0, 3, {label(): sums(1)})).versions) == 2
    assert [each["arms"][0]["n"] for each in memory.documents()] == [10, 10]


def test_a_row_with_fewer_decisions_is_waited_for_while_it_grows() -> None:
    memory, clock = Memory(), Clock()
    first_run(memory, clock, n=10)
    again = publisher(memory, clock, shards=1)
    for seq in range(10):  # a decision every 20 s: the heartbeat of 30 s is never over
        clock.now_us += 20 * SECOND
        again.offer(report(seq))
        progress = again.offer(step(0, seq, {label(): sums(1)}))
        assert ("row" in progress.held) == (seq < 9)
    assert [each["arms"][0]["n"] for each in memory.documents()] == [10, 10]


def test_a_row_that_stays_smaller_is_published_after_a_heartbeat() -> None:
    """As after a conflicting duplicate that won, or pruning: no later record brings the decisions back."""
    memory, clock = Memory(), Clock()
    first_run(memory, clock, n=10)
    again = publisher(memory, clock, shards=1)
    held = []
    for seq in range(4):
        clock.now_us = T0 + seq * 10 * SECOND
        again.offer(report(seq))
        held.append("row" in again.offer(step(0, seq, {label(): sums(9)} if seq == 0 else {})).held)
    assert held == [True, True, True, False]


def test_a_final_snapshot_of_earlier_events_takes_nothing_back() -> None:
    memory, clock = Memory(), Clock()
    first_run(memory, clock, watermark_us=T0 + 600 * SECOND)
    again = publisher(memory, clock, shards=1)
    again.offer(report(0, T0, final=True))
    again.offer(step(0, 0, {label(): sums(1)}))
    assert again.offer(step(0, 0, {}, final=True)).held == ["row", "_stream"]
    assert len(memory.documents()) == 1


def test_a_new_epoch_need_not_reach_the_counts_of_the_old_one() -> None:
    memory, clock = Memory(), Clock()
    first_run(memory, clock, n=10)
    again = publisher(memory, clock, shards=1, file=bandits(epoch=2))
    again.offer(report(0))
    assert "row" not in again.offer(step(0, 0, {label(epoch=2): sums(1)})).held
    assert memory.document()["arms"][0]["n"] == 1


def test_segments_of_the_last_snapshot_keep_their_rows_though_others_come_first() -> None:
    memory, clock = Memory(), Clock()
    made = publisher(memory, clock, shards=1)
    made.offer(report(0))
    made.offer(step(0, 0, {label("a", segment): sums(1) for segment in ("s1", "s2", "s3")}))
    again = publisher(memory, clock, shards=1)
    again.offer(report(0))
    again.offer(step(0, 0, {label("a", segment): sums(1) for segment in ("s0", "s1", "s2", "s3")}))
    assert [row["segment"] for row in memory.document()["arms"]] == ["*", "s1", "s2", "s3"]


def test_a_destination_that_cannot_be_read_holds_everything_and_is_asked_again() -> None:
    class Deaf(Memory):
        deaf = True

        def latest(self, name):  # type: ignore[no-untyped-def]
            if self.deaf:
                raise ConnectionError("no way to the store")
            return super().latest(name)

    memory, clock = Deaf(), Clock()
    made = publisher(memory, clock, shards=1)
    made.offer(report(0))
    progress = made.offer(step(0, 0, {label(): sums(1)}))
    assert not progress.versions and "the last snapshot cannot be read" in progress.failures[0]
    memory.deaf = False
    made.offer(report(1))
    assert len(made.offer(step(0, 1, {})).versions) == 2
