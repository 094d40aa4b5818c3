"""The bandits file changes while records are open: a shard that loses its memory then counts as one that keeps it."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reward_stream.test_join_shards import BANDITS, content, run, stream
from transforms.attribution.block import Block

Edit = tuple[bytes, bytes]
_B = b"      b: {generation: 2, model: b}\n"
NEXT_GENERATION = b"a: {generation: 2", b"a: {generation: 3"
NEXT_EPOCH = b"policy_epoch: 1", b"policy_epoch: 2"
ANOTHER_ARM = _B, _B + b"      z: {generation: 2, model: z}\n"
WITHOUT_B = _B, b""


def changing(rng: random.Random, edits: Sequence[Edit]) -> list[Block]:
    """A stream of blocks, some of which bring the file with one edit more."""
    made, data = stream(rng), BANDITS
    for place, edit in zip(sorted(rng.sample(range(1, len(made) - 1), len(edits))), edits, strict=True):
        data = data.replace(*edit)
        made[place] = dataclasses.replace(made[place], rules=data)
    return made


@given(seed=st.integers(0, 2**32), edits=st.permutations([NEXT_GENERATION, NEXT_EPOCH, ANOTHER_ARM, WITHOUT_B]))
@settings(max_examples=30)
def test_a_shard_that_loses_its_memory_knows_by_which_rules_it_counted(seed: int, edits: list[Edit]) -> None:
    rng = random.Random(seed)
    made = changing(rng, edits[: rng.randrange(1, 4)])
    assert content(run(made, rng, losses=0.3)) == content(run(made, rng, losses=0.0))
