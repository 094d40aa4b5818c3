"""Rows against the plain formulas in fractions."""

from __future__ import annotations

import base64
import random
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from serving_client.contracts.bandits import Arm, Attribution, Bandit, Feature, feature_schema, feature_width
from transforms.attribution.rules import Label
from transforms.attribution.statistics.row_sums import Counted, sum_rows
from transforms.attribution.statistics.rows import HOUR_US, RowSums, row_document

S = 1_000_000
HALF_LIVES = {"1m": 60 * S, "1h": 3600 * S}
LABEL = Label("b", 1, "*", "a", 1)


def bandit(features: tuple[Feature, ...] = (), hours_kept: int = 2) -> Bandit:
    return Bandit(
        "b", 1, "a", {"a": Arm("a", 1, "a")}, {}, Attribution(S, S), half_lives=HALF_LIVES, features=features,
        hours_kept=hours_kept,
    )  # fmt: skip


def exactly(values: list[float], scale: int = 0) -> float:
    return float(sum((Fraction(value) for value in values), Fraction()) * Fraction(2) ** scale)


rows = st.lists(
    st.tuples(
        st.integers(1_700_000_000 * S, 1_700_020_000 * S),
        st.sampled_from([0, S, 1, -5 * S, 10**15]),
        st.sampled_from([1.0, 0.3, 1 / 7, 1e-9, 0.0, 1e-300]),
    ),
    min_size=1,
    max_size=25,
)


@given(rows=rows)
@settings(max_examples=60)
def test_a_row_is_the_plain_formula_rounded_once(rows: list[tuple[int, int, float]]) -> None:
    decided, rewards, propensities = (list(column) for column in zip(*rows, strict=True))
    counted = Counted(
        np.zeros(len(rows), np.int32), np.array(decided), np.array(rewards), np.array(propensities, np.float64)
    )
    row = row_document(LABEL, sum_rows(counted, [bandit()], [("", 0)])[0], 0, None, max(decided), bandit())
    assert row["n"] == len(rows)
    assert row["sum_r"] == float(Fraction(sum(rewards), 10**6))
    assert row["sum_r2"] == float(Fraction(sum(r * r for r in rewards), 10**12))
    newest = max(decided) // HOUR_US
    kept = sorted({at // HOUR_US for at in decided if at // HOUR_US > newest - 2})
    assert [hour["n"] for hour in row["hours"]] == [sum(at // HOUR_US == hour for at in decided) for hour in kept]
    usable = [(1 / p, r / 10**6) for p, r in zip(propensities, rewards, strict=True) if p > 1e-100]
    assert row["ipw"] == {
        "n": len(usable),
        "missing": len(rows) - len(usable),
        "sum_w": exactly([w for w, _ in usable]),
        "sum_w2": exactly([w * w for w, _ in usable]),
        "sum_wr": exactly([w * r for w, r in usable]),
        "sum_w2r2": exactly([(w * r) * (w * r) for w, r in usable]),
    }
    for name, half_life in HALF_LIVES.items():
        reference = -(-max(decided) // half_life)
        parts: list[Fraction] = [Fraction(), Fraction(), Fraction()]
        for at, reward in zip(decided, rewards, strict=True):
            multiple = -(-at // half_life)
            weight = float(np.exp2(-(multiple * half_life - at) / half_life))
            r = reward / 10**6
            for place, value in enumerate((weight, weight * r, weight * (r * r))):
                parts[place] += Fraction(value) * Fraction(2) ** (multiple - reference)
        decayed = row["decayed"][name]
        assert [decayed["w"], decayed["w_r"], decayed["w_r2"]] == [float(part) for part in parts]


@given(seed=st.integers(0, 2**32), parts=st.integers(1, 5))
@settings(max_examples=40)
def test_rows_add_up_whatever_the_division_and_the_order(seed: int, parts: int) -> None:
    rng = np.random.default_rng(seed)
    n = 60
    counted = Counted(
        rng.integers(0, 2, n).astype(np.int32),
        rng.integers(1_700_000_000 * S, 1_700_009_000 * S, n),
        rng.choice(np.array([0, S, 123_457]), n),
        rng.random(n),
        rng.integers(-(2**30), 2**30, (n, 3)).astype(np.int32),
        rng.random(n) < 0.7,
    )
    of = ([bandit(), bandit()], [("schema", 3), ("schema", 3)])
    whole = sum_rows(counted, *of)
    added: dict[int, RowSums] = {}
    pieces = [sum_rows(counted.take(piece), *of) for piece in np.array_split(rng.permutation(n), parts)]
    random.Random(seed).shuffle(pieces)
    for piece in pieces:
        for code, row in piece.items():
            added.setdefault(code, RowSums()).add(row)
    assert {code: row.to_state() for code, row in added.items()} == {c: row.to_state() for c, row in whole.items()}
    for code, row in whole.items():
        assert RowSums.from_state(row.to_state()).to_state() == row.to_state()
        added[code].add(row, sign=-1)
        assert added[code].is_zero()


def test_features_become_the_upper_triangle_in_real_units() -> None:
    """x = (1, .5), r = 1 and x = (-1, .25), r = 0: X'X = [[2, .25], [.25, .3125]], X'r = (1, .5)."""
    described = bandit(features=(Feature("f", "numeric", "user"), Feature("g", "numeric", "user")))
    width = feature_width(described)
    assert width == 2
    counted = Counted(
        np.zeros(2, np.int32), np.full(2, 1_700_000_000 * S), np.array([S, 0]), np.ones(2),
        np.array([[1024, 512], [-1024, 256]], np.int32), np.ones(2, np.bool_),
    )  # fmt: skip
    sums = sum_rows(counted, [described], [(feature_schema(described), 2)])[0]
    lin = row_document(LABEL, sums, 0, None, 1_700_000_000 * S, described)["lin"]
    assert (lin["schema"], lin["d"]) == (feature_schema(described), 2)
    assert np.frombuffer(base64.b64decode(lin["xtx"]), "<f8").tolist() == [2.0, 0.25, 0.3125]
    assert np.frombuffer(base64.b64decode(lin["xtr"]), "<f8").tolist() == [1.0, 0.5]


@given(seed=st.integers(0, 2**32))
def test_products_too_large_for_floats_stay_exact(seed: int) -> None:
    rng = random.Random(seed)
    x = [[rng.randrange(2**29, 2**30) for _ in range(2)] for _ in range(3)]
    r = [rng.randrange(10**14, 10**15) for _ in range(3)]
    counted = Counted(
        np.zeros(3, np.int32), np.full(3, 1_700_000_000 * S), np.array(r), np.ones(3), np.array(x, np.int32),
        np.ones(3, np.bool_),
    )  # fmt: skip
    lin = sum_rows(counted, [bandit()], [("s", 2)])[0].lin
    assert lin is not None
    assert lin.xtx == [sum(v[i] * v[j] for v in x) for i, j in ((0, 0), (0, 1), (1, 1))]
    assert lin.xtr == [sum(v[i] * value for v, value in zip(x, r, strict=True)) for i in range(2)]
