"""Exact sums of floats against fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from transforms.attribution.statistics.exact import Exact, exact_sums

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def fraction(exact: Exact) -> Fraction:
    return Fraction(exact.mantissa) * Fraction(2) ** exact.exponent


@given(values=st.lists(st.tuples(FINITE, st.integers(0, 3)), max_size=40))
def test_sums_are_those_of_fractions_whatever_the_order(values: list[tuple[float, int]]) -> None:
    numbers = np.array([value for value, _ in values], np.float64)
    groups = np.array([group for _, group in values], np.int64)
    forward, backward = exact_sums(numbers, groups, 4), exact_sums(numbers[::-1], groups[::-1], 4)
    for group in range(4):
        expected = sum((Fraction(value) for value, own in values if own == group), Fraction())
        assert fraction(forward.get(group, Exact())) == expected == fraction(backward.get(group, Exact()))


@given(values=st.lists(st.floats(-1e200, 1e200), min_size=1, max_size=30))
def test_a_sum_is_rounded_once(values: list[float]) -> None:
    total = exact_sums(np.array(values), np.zeros(len(values), np.int64), 1).get(0, Exact())
    assert total.to_float() == math.fsum(values)


@given(kept=st.lists(FINITE, max_size=10), gone=st.lists(FINITE, max_size=10))
def test_what_is_taken_away_leaves_no_trace(kept: list[float], gone: list[float]) -> None:
    def total(values: list[float]) -> Exact:
        return exact_sums(np.array(values, np.float64), np.zeros(len(values), np.int64), 1).get(0, Exact())

    both = total(kept)
    both.add(total(gone))
    both.add(total(gone), sign=-1)
    assert both.to_state() == total(kept).to_state()
    assert Exact.from_state(both.to_state()).to_state() == both.to_state()


def test_scaling_by_powers_of_two_is_exact_beyond_the_range_of_floats() -> None:
    """1 x 2^-500000 x 2^500000 = 1."""
    one = exact_sums(np.array([1.0]), np.zeros(1, np.int64), 1)[0]
    assert one.scaled(-500_000).to_float() == 0.0
    assert one.scaled(500_000).to_float() == math.inf
    assert one.scaled(-500_000).scaled(500_000).to_float() == 1.0


def test_dropped_bits_are_below_what_a_float_shows() -> None:
    both = exact_sums(np.array([1.0, 2.0**-1000]), np.zeros(2, np.int64), 1)[0]
    both.cut_below(-900)
    assert both.to_state() == ["1", 0]
