"""--similarity=ease against the dense closed form, its rounding, and what it refuses."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from pipelines.batch_cf import ease
from pipelines.batch_cf.ranking import Scoring
from pipelines.batch_cf.similarities import SIMILARITIES, Parameters
from pipelines.batch_cf.sums import PairSums
from transforms.errors import BadInput

from . import oracle
from .running import assert_same, promised_bytes, read_neighbors, run, write_rows
from .test_pipeline import DAY_US, make_rows


def scoring(marginals: list[float], l2: float, top_k: int, eligible: list[bool] | None = None) -> Scoring:
    return Scoring(
        similarity=SIMILARITIES["ease"],
        parameters=Parameters(l2=l2),
        marginals=np.array(marginals),
        exponent=0,
        eligible=np.array(eligible or [True] * len(marginals)),
        top_k=top_k,
    )


def pairs(items: int, first_row: int, rows: list[dict[int, int]]) -> PairSums:
    """Counts of pairs, a dictionary for each row."""
    return PairSums(
        items,
        first_row,
        np.cumsum([len(row) for row in rows]).astype(np.int64),
        np.array([column for row in rows for column in row], np.uint32),
        np.array([count for row in rows for count in row.values()], np.int32),
        None,
    )


def test_decayed_weights_are_solved_as_the_dense_matrix_of_weights(tmp_path: pathlib.Path) -> None:
    rows = make_rows(2)
    interactions = write_rows(tmp_path / "in", rows, files=2)
    flags = ("--similarity=ease", "--l2=1.5", "--top_k=6", "--half_life=3d", "--user_shards=3")
    found = read_neighbors(run(interactions, tmp_path / "out", *flags))
    of = oracle.histories(rows, half_life_us=3 * DAY_US)
    assert_same(found, oracle.neighbors(of, "ease", {"l2": 1.5}, 6), tolerance=1e-5)


def test_two_items_of_a_third_speak_against_each_other() -> None:
    """a-c and b-c share 4 users each, a-b none: G + l2 I = [[5, 0, 4], [0, 5, 4], [4, 4, 9]] with l2 = 1.

    det = 5 (45 - 16) + 4 (0 - 20) = 65. Of the inverse times 65: P_aa = 29, P_bb = 29, P_cc = 25, P_ab = 16,
    P_ac = P_bc = -20. So w_ab = -16 / 29, w_ac = 20 / 25, w_ca = 20 / 29. Two |w| are kept, ranked by w.
    """
    part = pairs(3, 0, [{2: 4}, {2: 4}, {0: 4, 1: 4}])
    (found,) = ease.ease_neighbors([part], scoring([4, 4, 8], 1.0, 2))
    assert found.lengths.tolist() == [2, 2, 2]
    assert found.neighbors.tolist() == [2, 1, 2, 0, 0, 1]
    assert found.scores == pytest.approx([20 / 25, -16 / 29, 20 / 25, -16 / 29, 20 / 29, 20 / 29], abs=1e-6)
    assert found.cooccurrence.tolist() == [4, 0, 4, 0, 4, 4]


def test_the_largest_absolute_weights_are_kept_among_eligible_items() -> None:
    part = pairs(3, 0, [{2: 4}, {2: 4}, {0: 4, 1: 4}])
    (one,) = ease.ease_neighbors([part], scoring([4, 4, 8], 1.0, 1))
    assert one.neighbors.tolist() == [2, 2, 0]
    (without_c,) = ease.ease_neighbors([part], scoring([4, 4, 8], 1.0, 1, [True, True, False]))
    assert without_c.neighbors.tolist() == [1, 0, 0] and without_c.scores[0] < 0


def test_weights_are_multiples_of_the_unit_and_parts_may_come_in_any_order() -> None:
    rows = [{2: 4}, {2: 4}, {0: 4, 1: 4}]
    parts = [pairs(3, 2, rows[2:]), pairs(3, 0, rows[:2])]
    (found,) = ease.ease_neighbors(parts, scoring([4, 4, 8], 1.0, 2))
    (whole,) = ease.ease_neighbors([pairs(3, 0, rows)], scoring([4, 4, 8], 1.0, 2))
    assert found.scores.tolist() == whole.scores.tolist()
    units = found.scores.astype(np.float64) / ease.WEIGHT_UNIT
    assert (units == np.rint(units)).all()


def test_the_division_of_the_input_changes_no_byte(tmp_path: pathlib.Path) -> None:
    rows = make_rows(4, users=60, items=40, rows=900)
    flags = ("--similarity=ease", "--l2=5", "--top_k=8")
    one = run(write_rows(tmp_path / "in", rows), tmp_path / "one", *flags)
    seven = run(write_rows(tmp_path / "in7", rows[::-1], files=3), tmp_path / "seven", *flags, "--user_shards=7")
    assert promised_bytes(one) == promised_bytes(seven)


def test_more_items_than_the_limit_are_refused_in_a_sentence(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ease, "MOST_ITEMS", 5)
    interactions = write_rows(tmp_path / "in", make_rows(3))
    with pytest.raises(BadInput, match=r"--similarity=ease takes at most 5 items, and the log has 16; raise"):
        run(interactions, tmp_path / "out", "--similarity=ease")
    assert not (tmp_path / "out" / "neighbors").exists()
