"""Of two streams with one destination the one that begins while the other is alive is refused, and not the other."""

from __future__ import annotations

import pathlib

import pytest

from pipelines.reward_stream.publishing.ownership import kept_publisher
from pipelines.reward_stream.publishing.publisher import Publisher, PublisherProgress
from serving_client.snapshots.published import Owner
from tests.reward_stream.publisher_setup import SECOND, T0, Clock, Letters, Memory, label, publisher, report, step, sums
from transforms.dead_letters import DeadLetter
from transforms.errors import Refused


def tick(made: Publisher, seq: int, n: int = 5, *, stop: bool = False, final: bool = False) -> PublisherProgress:
    """A tick with n decisions and a dead letter."""
    made.offer(report(seq, stop=stop, final=final, dead_letters=(DeadLetter("f", seq, "late", b"{}"),)))
    progress = made.offer(step(0, seq, {label(): sums(n)}, stop=stop))
    return made.offer(step(0, seq, {}, final=True)) if final else progress


def named(memory: Memory, clock: Clock, name: str | None, letters: Letters | None = None, **more: bool) -> Publisher:
    return publisher(memory, clock, letters, shards=1, name=name, **more)


def test_a_stream_that_begins_beside_a_healthy_one_is_refused_and_writes_nothing() -> None:
    memory, clock, letters = Memory(), Clock(), Letters()
    first = named(memory, clock, "first")
    tick(first, 0)
    clock.now_us += 89 * SECOND  # three heartbeats are 90 s
    said = r"row: the stream first published version 1 to the same --snapshots 89 s ago; .*--take_over"
    with pytest.raises(Refused, match=said) as refused:
        tick(named(memory, clock, "second", letters), 0)
    assert refused.value.exit_code == 4
    assert letters.kept == []
    assert len(memory.documents()) == 1
    assert len(tick(first, 1).versions) == 2


def test_a_stream_that_has_been_silent_for_three_heartbeats_is_followed() -> None:
    memory, clock = Memory(), Clock()
    tick(named(memory, clock, "first"), 0)
    clock.now_us += 90 * SECOND
    assert len(tick(named(memory, clock, "second"), 0).versions) == 2
    assert memory.owners["row"] == Owner("second", 30.0)


def test_the_same_stream_goes_on_at_once() -> None:
    memory, clock = Memory(), Clock()
    tick(named(memory, clock, "first"), 0)
    assert len(tick(named(memory, clock, "first"), 0).versions) == 2


def test_a_stream_that_was_stopped_or_has_ended_is_followed_at_once() -> None:
    for end in ({"stop": True}, {"final": True}):
        memory, clock = Memory(), Clock()
        tick(named(memory, clock, "first"), 0, **end)
        assert memory.owners["row"] == Owner("first", 0)
        assert len(tick(named(memory, clock, "second"), 0).versions) == 2


def test_a_pointer_that_names_no_stream_refuses_nobody() -> None:
    memory, clock = Memory(), Clock()
    tick(named(memory, clock, None), 0)
    assert memory.owners["row"] is None
    assert len(tick(named(memory, clock, "second"), 0).versions) == 2


def test_with_take_over_the_other_stream_is_the_one_that_ends() -> None:
    memory, clock = Memory(), Clock()
    first = named(memory, clock, "first")
    tick(first, 0)
    second = named(memory, clock, "second", take_over=True)
    assert len(tick(second, 0).versions) == 2
    with pytest.raises(Refused, match="another run publishes to the same --snapshots"):
        tick(first, 1)
    assert [each.content.bandit_id for each in tick(second, 1).versions] == ["row"]  # the one that changed


def test_a_stream_that_began_before_the_other_published_is_refused_at_its_first_snapshot() -> None:
    memory, clock = Memory(), Clock()
    tick(named(memory, clock, "ended"), 0, stop=True)
    slow = named(memory, clock, "slow")
    assert tick(slow, 0, n=1).held == ["row"]  # it has read fewer decisions than the last snapshot counts
    memory.owners["row"] = Owner("fast", 30.0)
    with pytest.raises(Refused, match="row: the stream fast"):
        tick(slow, 1, n=4)


def test_the_id_of_a_stream_is_kept_with_its_checkpoints(tmp_path: pathlib.Path) -> None:
    state = str(tmp_path / "state")
    assert [kept_publisher(state, new) for new in ("one", "two")] == ["one", "one"]
    (tmp_path / "state" / "publisher.json").write_text("{")
    assert kept_publisher(state, "three") == "three"


def test_a_clock_behind_that_of_the_other_stream_does_not_hide_it() -> None:
    memory, clock = Memory(), Clock()
    tick(named(memory, clock, "first"), 0)
    clock.now_us = T0 - 3600 * SECOND
    with pytest.raises(Refused, match="the stream first"):
        tick(named(memory, clock, "second"), 0)
