"""What is no list of ids, or no number of items, is refused with a sentence and never read as something else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.ranking.arguments import checked_ids, checked_k


@given(ids=st.lists(st.text()))
def test_any_iterable_of_text_is_a_list_of_ids(ids):
    for given_as in (ids, tuple(ids), iter(ids), (item for item in ids), np.array(ids, object)):
        assert checked_ids(given_as, "history") == ids


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        ("prod-001", r"^history is one str, not a list of ids; pass \['prod-001'\]$"),
        (b"prod-001", "^history is one bytes"),
        (None, "^history is NoneType, not a list of ids$"),
        (5, "^history is int, not a list of ids$"),
        ([5], r"^history\[0\] is int 5, not text; convert ids with str\(…\)$"),
        (["a", None], r"^history\[1\] is NoneType None"),
        (["a", b"b"], r"^history\[1\] is bytes b'b'"),
    ],
)
def test_what_is_no_list_of_ids_is_a_type_error(ids, says):
    with pytest.raises(TypeError, match=says):
        checked_ids(ids, "history")


@pytest.mark.parametrize(
    ("k", "kind", "says"),
    [
        (0, ValueError, "^k is 0; pass a whole number from 1$"),
        (-3, ValueError, "^k is -3; "),
        (True, TypeError, "^k is bool True; "),
        (2.0, TypeError, r"^k is float 2\.0; "),
        ("5", TypeError, "^k is str '5'; "),
        (None, TypeError, "^k is NoneType None; "),
    ],
)
def test_what_is_no_number_of_items_is_an_error(k, kind, says):
    with pytest.raises(kind, match=says):
        checked_k(k)


def test_whole_numbers_of_numpy_are_numbers():
    assert checked_k(np.int64(3)) == 3
    assert type(checked_k(np.int32(3))) is int
