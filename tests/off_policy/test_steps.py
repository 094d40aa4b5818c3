"""The combiners of the steps: any division and order of the shards gives the same sums, to the bit."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest

from pipelines.off_policy.steps.weigh_decisions import AddSumsFn
from pipelines.off_policy.sums import Sums, sums_of
from tests.off_policy.test_estimators import some, weighed


@pytest.mark.parametrize("shards", [1, 2, 5, 8, 13])
def test_sums_do_not_depend_on_the_order_in_which_shards_are_added(shards: int) -> None:
    parts = [
        (shard, sums_of(dataclasses.replace(weighed(*some(40, shard)), arms=["ab"[shard % 2]]), 1, 10))
        for shard in range(shards)
    ]
    rng, combiner = random.Random(shards), AddSumsFn()

    def combined() -> Sums:
        ordered = rng.sample(parts, len(parts))
        cuts = sorted(rng.randrange(shards + 1) for _ in range(2))
        accumulators = []
        for chunk in (ordered[: cuts[0]], ordered[cuts[0] : cuts[1]], ordered[cuts[1] :]):
            nodes = combiner.create_accumulator()
            for part in chunk:
                nodes = combiner.add_input(nodes, part)
            accumulators.append(nodes)
        return combiner.extract_output(combiner.merge_accumulators(accumulators))

    first = combined()
    assert first.moment("n") == 40 * shards
    plain = np.sum([sums.moments for _, sums in parts], axis=0)
    np.testing.assert_allclose(first.moments, plain, rtol=1e-12)
    for _ in range(10):
        again = combined()
        assert again.to_json() == first.to_json()
