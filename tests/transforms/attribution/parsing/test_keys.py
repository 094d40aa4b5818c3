"""Keys of ids: independent halves, shards that cover all keys, numbers that stay."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.attribution.parsing.keys import decision_keys, event_keys, shard_of

ids = st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20), max_size=20)


@given(ids=ids)
def test_python_strings_and_arrow_strings_have_the_same_keys(ids: list[str]) -> None:
    array = pa.array(ids, pa.string())
    for one, other in zip(decision_keys(ids), decision_keys(array), strict=True):
        assert one.tolist() == other.tolist()
    assert event_keys(ids).tolist() == event_keys(array).tolist()


def test_keys_stay_what_they_are_from_version_to_version() -> None:
    """A checkpoint of last year knows decisions by these numbers: they never change."""
    hi, lo = decision_keys(["d1"])
    assert (hi.tolist(), lo.tolist(), event_keys(["d1"]).tolist()) == (
        [60775242401919646],
        [16352230285899357385],
        [3004645840531331922],
    )


def test_shards_get_about_equal_shares_of_the_keys() -> None:
    """10,000 keys in 8 shards: 1,250 each, standard deviation 33."""
    _, lo = decision_keys([f"d{n}" for n in range(10_000)])
    assert np.abs(np.bincount(shard_of(lo, 8), minlength=8) - 1_250).max() < 5 * 33


def test_no_shard_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="shards=0"):
        shard_of(np.zeros(1, np.uint64), 0)
