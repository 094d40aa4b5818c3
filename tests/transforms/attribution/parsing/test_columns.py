"""Every record goes to exactly one shard's block, in the order read, with all that it says."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.transforms.attribution.parsing.record_lines import DECISION, REWARD, chunks
from transforms.attribution.block import Block
from transforms.attribution.parsing.columns import DecisionColumns, RewardColumns, to_blocks
from transforms.attribution.parsing.keys import shard_of
from transforms.attribution.parsing.records import read_decisions, read_rewards

NEVER_US = 2**61
DECISIONS = chunks(DECISION, ["features", "feature_schema", "bot", "served_by"])
REWARDS = chunks(REWARD, ["item_id"])


def decision_rows(columns: DecisionColumns) -> list[tuple[object, ...]]:
    rows = []
    for row in range(len(columns)):
        features: tuple[object, ...] = ()
        if columns.features is not None:
            start, end = columns.features.offsets[row], columns.features.offsets[row + 1]
            schema = columns.features.schema[row]
            features = (*columns.features.values[start:end].tolist(), columns.schemas[schema] if schema >= 0 else None)
        label, rank = columns.labels[columns.label[row]], int(columns.rank[row])
        numbers = columns.hi[row], columns.lo[row], columns.at_us[row], columns.flags[row], columns.propensity[row]
        rows.append((rank, label, *(number.item() for number in numbers), *features))
    return rows


def block_rows(block: Block) -> list[tuple[object, ...]]:
    d = block.decisions
    rows = []
    for row in range(len(d)):
        features: tuple[object, ...] = ()
        if d.features is not None:
            start, end, schema = d.features.offsets[row], d.features.offsets[row + 1], d.features.schema[row]
            features = (*d.features.values[start:end].tolist(), block.schemas[schema] if schema >= 0 else None)
        numbers = d.hi[row], d.lo[row], d.at_us[row], d.flags[row], d.propensity[row]
        rows.append((int(d.rank[row]), block.labels[d.label[row]], *(number.item() for number in numbers), *features))
    return rows


@given(lines=DECISIONS, shards=st.integers(1, 4), data=st.data())
def test_decisions_are_divided_among_the_shards(lines: bytes, shards: int, data: st.DataObject) -> None:
    columns, _, _ = read_decisions(lines, 11, NEVER_US, 0)
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(columns), max_size=len(columns))), np.bool_)
    blocks = to_blocks(columns, None, shards, "part-1", keep)
    assert len(blocks) == shards
    shard = shard_of(columns.lo, shards)
    for number, block in enumerate(blocks):
        mine = columns.select(shard == number)
        expected = decision_rows(mine)
        if block.decisions.features is None:  # no row of this shard has any
            expected = [row[:7] for row in expected]
        assert block_rows(block) == expected
        assert {block.labels[label] for label in block.decisions.label} == set(block.labels)
        kept = np.flatnonzero(keep[shard == number]).tolist()
        assert block.decisions.raw == {row: ("part-1", mine.position[row], mine.original(row)) for row in kept}
        assert not len(block.rewards)


@given(lines=REWARDS, shards=st.integers(1, 4), event_ids=st.booleans())
def test_rewards_are_divided_among_the_shards(lines: bytes, shards: int, event_ids: bool) -> None:
    columns, _, _ = read_rewards(lines, 11, NEVER_US, 0, event_ids)
    shard = shard_of(columns.lo, shards)
    for number, block in enumerate(to_blocks(None, columns, shards, "part-1")):
        mine, r = columns.select(shard == number), block.rewards
        assert isinstance(mine, RewardColumns)
        assert r.raw == [mine.original(row) for row in range(len(mine))]
        assert [block.kinds[kind] for kind in r.kind] == [mine.kinds[kind] for kind in mine.kind]
        for name in ("hi", "lo", "event", "at_us", "rank", "value", "flags", "position"):
            assert getattr(r, name).tolist() == getattr(mine, name).tolist()
        assert [block.sources[source] for source in r.source] == ["part-1"] * len(mine)
        if len(mine):
            assert r.event_id == mine.event_id


@given(lines=DECISIONS, data=st.data())
def test_select_keeps_the_rows_of_the_mask(lines: bytes, data: st.DataObject) -> None:
    columns, _, _ = read_decisions(lines, 0, NEVER_US, 0)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(columns), max_size=len(columns))), np.bool_)
    chosen = columns.select(mask)
    assert decision_rows(chosen) == [row for row, is_in in zip(decision_rows(columns), mask, strict=True) if is_in]
    assert chosen.position.tolist() == columns.position[mask].tolist()
