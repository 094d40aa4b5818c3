"""A Block comes back from its bytes as it was, and a decision takes few of them."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_client.contracts.times import BEFORE_ALL_US, format_time
from tests.transforms.attribution.parsing.record_lines import DECISION, REWARD, chunks, written
from transforms.attribution.block import Block, decode, empty_block, empty_rewards, encode
from transforms.attribution.parsing.columns import to_blocks
from transforms.attribution.parsing.records import read_decisions, read_rewards

DECISIONS = chunks(DECISION, ["features", "feature_schema", "bot", "served_by", "received_at"])
NEVER_US = 2**61


def plain(value: object) -> object:
    """A Block with lists for arrays and their types beside them."""
    if isinstance(value, np.ndarray):
        return [value.dtype.str, value.tolist()]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value


@given(decisions=DECISIONS, rewards=chunks(REWARD, ["received_at"]), event_ids=st.booleans(), data=st.data())
def test_a_block_comes_back_from_its_bytes(
    decisions: bytes, rewards: bytes, event_ids: bool, data: st.DataObject
) -> None:
    of_decisions, _, _ = read_decisions(decisions, 5, NEVER_US, 0)
    of_rewards, _, _ = read_rewards(rewards, 7, NEVER_US, 0, event_ids)
    keep = np.array(
        data.draw(st.lists(st.booleans(), min_size=len(of_decisions), max_size=len(of_decisions))), np.bool_
    )
    for block in to_blocks(of_decisions, of_rewards, 2, "part-1", keep):
        block.seq, block.tick, block.holding_us, block.rules = 3, True, -5, b"bandits: {}"
        if not len(block.rewards):
            block.rewards = empty_rewards()  # whether ids were asked for is not kept where there are none
        assert plain(decode(encode(block))) == plain(block)
        assert encode(decode(encode(block))) == encode(block)


def test_a_block_without_records_comes_back() -> None:
    block = empty_block(seq=-1, tick=True, final=True, stop=True, holding_us=1, maturing_us=2, rules=b"")
    assert plain(decode(encode(block))) == plain(block)
    assert (block.greatest_us, len(block)) == (BEFORE_ALL_US, 0)


def test_the_greatest_event_time_is_over_all_records() -> None:
    block = both([{"decided_at": format_time(2_000_000)}], [{"occurred_at": format_time(9_000_000)}])
    assert (block.greatest_us, len(block)) == (9_000_000, 2)


def both(decisions: list[dict[str, object]], rewards: list[dict[str, object]]) -> Block:
    of_decisions = "".join(written({**DECISION, **changed}) + "\n" for changed in decisions).encode()
    of_rewards = "".join(written({**REWARD, **changed}) + "\n" for changed in rewards).encode()
    read, _, _ = read_decisions(of_decisions, 0, NEVER_US, 0)
    (block,) = to_blocks(read, read_rewards(of_rewards, 0, NEVER_US, 0)[0], 1, "part-1")
    return block


def test_a_decision_with_its_share_of_rewards_takes_at_most_60_bytes() -> None:
    """Four arms, ten decisions to a reward, 24 bytes of hashes each: 49 bytes when this was written."""
    rng = random.Random(1)
    decisions: list[dict[str, object]] = []
    rewards: list[dict[str, object]] = []
    for n in range(2_000):
        at_us, decision_id = 1_795_500_000_000_000 + 1_000 * n + rng.randrange(1_000), f"{rng.getrandbits(64):016x}"
        arm, p = rng.choice(["a", "b", "c", "d"]), rng.uniform(0.01, 0.9)
        decisions.append({"decision_id": decision_id, "arm_id": arm, "propensity": p, "decided_at": format_time(at_us)})
        if n % 10 == 0:
            event = {
                "event_id": f"{rng.getrandbits(64):016x}",
                "occurred_at": format_time(at_us + rng.randrange(10**7)),
            }
            rewards.append({**event, "decision_id": decision_id, "item_id": f"i{rng.randrange(10**5)}"})
    block = both(decisions, rewards)
    assert len(block) == 2_200
    assert len(encode(block)) / 2_000 <= 60


def test_bytes_of_another_version_are_refused() -> None:
    with pytest.raises(ValueError, match="version 77"):
        decode(b"\x4d" + encode(empty_block(0))[1:])
