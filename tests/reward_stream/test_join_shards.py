"""The join as a stateful DoFn: blocks in any order, repeated, and with its memory lost at any moment.

State cells here are plain ones that keep what they are given, as a runner's do; `test_streaming` runs the same DoFn on
real runners.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.reward_stream.publishing.messages import decode_message
from pipelines.reward_stream.steps.join_shards import JoinShardFn, JoinShards
from tests.transforms.attribution.joining.worlds import (
    START_US,
    Decision,
    Reward,
    S,
    arrivals,
    block,
    both,
    label,
    rules,
    total,
    world,
)
from transforms.attribution import block as blocks
from transforms.attribution.block import Block
from transforms.attribution.joining.delta import FoldResult
from transforms.attribution.joining.fold import Shard, advance, finish, fold

BANDITS = b"""
bandits:
  b:
    policy_epoch: 1
    default_arm: a
    arms:
      a: {generation: 2, model: a}
      b: {generation: 2, model: b}
    policy: {kind: epsilon_greedy, epsilon: 0.1}
    attribution: {window: 20s, allowed_lateness: 40s, max_future: 5s, aggregate: any, reward_kinds: [click]}
    segments: [plan]
    half_lives: [1h, 1m]
"""


@dataclasses.dataclass
class Cell:
    """A value and a bag in one, as a runner keeps them."""

    value: Any = None
    items: list[Any] = dataclasses.field(default_factory=list)
    bag: bool = False

    def read(self) -> Any:
        return list(self.items) if self.bag else self.value

    def write(self, value: Any) -> None:
        self.value = value

    def add(self, item: Any) -> None:
        self.items.append(item)

    def clear(self) -> None:
        self.value, self.items = None, []


class Timer:
    def set(self, _: Any) -> None:
        """A bounded run ends by itself."""


def stream(rng: random.Random) -> list[Block]:
    """Numbered blocks of a made-up world, most of them with a tick."""
    timed = arrivals(rng, *world(rng))
    made: list[Block] = []
    while timed:
        size = rng.randrange(1, 40)
        one = block(*both(record for _, record in timed[:size]))
        one.seq, one.tick = len(made), rng.random() < 0.7
        one.holding_us = one.maturing_us = timed[:size][-1][0] - 30 * S
        made.append(one)
        del timed[:size]
    end = blocks.empty_block(len(made), tick=True, final=True, holding_us=made[-1].holding_us)
    return [*made, dataclasses.replace(end, maturing_us=made[-1].maturing_us)]


def run(made: Iterable[Block], rng: random.Random, losses: float) -> list[FoldResult]:
    """The steps that one shard answers; `losses`: how often its memory is lost before a block."""
    cells = [Cell(), Cell(), *(Cell(bag=True) for _ in range(8))]
    join, steps = JoinShardFn(BANDITS), []
    join.setup()
    for one in made:
        if rng.random() < losses:
            join = JoinShardFn(BANDITS)
            join.setup()
        steps += [decode_message(data) for _, data in join.process((0, blocks.encode(one)), *cells, Timer())]
    return [step for step in steps if isinstance(step, FoldResult)]


def plain(made: Iterable[Block]) -> list[FoldResult]:
    """The same without Beam, state or encoding."""
    how, steps = rules(), []
    shard = Shard.empty(how)
    for one in made:
        fold(shard, one, how)
        if one.tick:
            steps.append(advance(shard, one.holding_us, one.maturing_us, how))
        if one.final:
            steps.append(finish(shard, how))
    return steps


def content(steps: Iterable[FoldResult]) -> Any:
    listed = list(steps)
    last = listed[-1]
    return (
        total(step.live for step in listed),
        total(step.closed for step in listed),
        (last.max_event_us, last.max_decided_us, last.closed_max_event_us, last.closed_max_decided_us),
        sorted(letter for step in listed for letter in step.dead_letters),
    )


@given(seed=st.integers(0, 2**32))
@settings(max_examples=25)
def test_memory_that_is_lost_is_rebuilt_from_state(seed: int) -> None:
    rng = random.Random(seed)
    made = stream(rng)
    assert content(run(made, rng, losses=0.2)) == content(plain(made))


@given(seed=st.integers(0, 2**32))
@settings(max_examples=15)
def test_blocks_that_overtake_others_or_come_twice_change_nothing(seed: int) -> None:
    rng = random.Random(seed)
    made = stream(rng)
    places = [at + rng.random() * 4 for at in range(len(made))]
    shuffled = [made[at] for at in sorted(range(len(made)), key=places.__getitem__)]
    twice = [each for one in shuffled for each in [one] * rng.choice([1, 1, 2])]
    assert content(run(twice, rng, losses=0.1)) == content(plain(made))


def test_old_state_is_noticed_instead_of_believed() -> None:
    made = stream(random.Random(1))
    cells = [Cell(), Cell(), *(Cell(bag=True) for _ in range(8))]
    join = JoinShardFn(BANDITS)
    join.setup()
    list(join.process((0, blocks.encode(made[0])), *cells, Timer()))
    old = cells[0].value
    list(join.process((0, blocks.encode(made[1])), *cells, Timer()))
    cells[0].value = old
    with pytest.raises(RuntimeError, match="prism_disable_sdf_split"):
        list(join.process((0, blocks.encode(made[2])), *cells, Timer()))


def test_the_log_is_cut_where_nothing_needs_it() -> None:
    """One decision a second for 20 minutes; the span is 65 s, and the log reaches back one window more."""
    cells = [Cell(), Cell(), *(Cell(bag=True) for _ in range(8))]
    join = JoinShardFn(BANDITS)
    join.setup()
    seconds = 1_200
    for second in range(seconds):
        decisions, _ = world(random.Random(second), ids=1)
        moved = [dataclasses.replace(each, at=START_US + second * S) for each in decisions]
        one = block(moved, [])
        one.seq, one.tick, one.holding_us, one.maturing_us = second, True, START_US + second * S, START_US + second * S
        list(join.process((0, blocks.encode(one)), *cells, Timer()))
    assert sum(len(cell.items) for cell in cells) <= 2 * (65 + 20)


def test_the_log_keeps_the_originals_of_those_rewards_alone_that_no_known_decision_has() -> None:
    cells = [Cell(), Cell(), *(Cell(bag=True) for _ in range(8))]
    join = JoinShardFn(BANDITS)
    join.setup()
    decision = Decision(1, START_US, 5, label())
    rewards = [Reward(1, 1, START_US + S, 5), Reward(2, 2, START_US + S, 5), Reward(1, 3, START_US + 2 * S, 5)]
    with_records, end = block([decision], rewards), blocks.empty_block(1, tick=True, final=True)
    with_records.seq = 0
    sent = with_records.rewards.raw
    assert all(sent)
    list(join.process((0, blocks.encode(with_records)), *cells, Timer()))
    (logged,) = [blocks.decode(data) for cell in cells[2:] for data in cell.items]
    assert logged.rewards.raw == [b"", sent[1], b""]
    join = JoinShardFn(BANDITS)
    join.setup()
    steps = [decode_message(data) for _, data in join.process((0, blocks.encode(end)), *cells, Timer())]
    letters = [letter for step in steps if isinstance(step, FoldResult) for letter in step.dead_letters]
    assert [(letter.reason, letter.original) for letter in letters] == [("orphan", sent[1])]


def test_bounded_input_counts_once_though_memory_is_lost_before_each_block() -> None:
    made = [dataclasses.replace(one, seq=-1, tick=False) for one in stream(random.Random(5))[:-1]]
    cells = [Cell(), Cell(), *(Cell(bag=True) for _ in range(8))]
    for one in made:
        join = JoinShardFn(BANDITS)
        join.setup()
        list(join.process((0, blocks.encode(one)), *cells, Timer()))
    join = JoinShardFn(BANDITS)
    join.setup()
    (message,) = join.end(0, *cells[:3])
    step = decode_message(message[1])
    assert isinstance(step, FoldResult)
    assert total([step.live]) == total([_at_once(made).live])


def test_bounded_input_is_joined_when_it_ends() -> None:
    made = stream(random.Random(3))[:-1]
    expected = total([_at_once(made).live])

    def check(messages: list[tuple[bytes, bytes]]) -> None:
        steps = [decode_message(data) for _, data in messages]
        assert total(step.live for step in steps if isinstance(step, FoldResult)) == expected

    encoded = [(0, blocks.encode(dataclasses.replace(one, seq=-1, tick=False))) for one in made]
    random.Random(4).shuffle(encoded)
    with beam.Pipeline(FnApiRunner()) as root:
        keyed = root | beam.Create(encoded).with_output_types(tuple[int, bytes])
        assert_that(keyed | JoinShards(BANDITS), check)


def _at_once(made: Iterable[Block]) -> FoldResult:
    how = rules()
    shard = Shard.empty(how)
    for one in made:
        fold(shard, one, how)
    return finish(shard, how)
