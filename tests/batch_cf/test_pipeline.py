"""The whole command against the plain computation, and its promise: same input, same bytes."""

from __future__ import annotations

import json
import pathlib
import random

import pytest

from pipelines.batch_cf.similarities import SIMILARITIES

from . import oracle
from .running import assert_same, promised_bytes, read_neighbors, run, write_rows

PARAMETERS = {
    "asymmetry": 0.3,
    "shrinkage": 2.0,
    "user_exponent": 0.7,
    "item_exponent": 0.6,
    "candidate_exponent": 0.3,
    "alpha": 0.8,
    "beta": 0.4,
    "locality": 1.5,
    "l2": 3.0,
}
DAY_US = 86_400_000_000


def make_rows(seed: int, users: int = 30, items: int = 18, rows: int = 220) -> list[oracle.Row]:
    """A log with repeated pairs, equal times, unequal activity, ids whose byte order is not their numeric order."""
    rng = random.Random(seed)
    return [
        (
            f"u{int(rng.paretovariate(1.0)) % users}",
            f"{'é' if item % 5 == 0 else 'c'}{item}",
            rng.choice([0.25, 0.5, 1.0, 1.7, 3.0]),
            rng.randrange(40) * DAY_US // 4,
        )
        for item in (int(rng.triangular(0, items, 2)) for _ in range(rows))
    ]


def flags_of(measure: str, parameters: dict[str, float]) -> list[str]:
    """The flags of the parameters that the measure takes."""
    taken = SIMILARITIES[measure].parameters
    return [f"--{name}={value}" for name, value in parameters.items() if name in taken]


@pytest.mark.parametrize("name", SIMILARITIES)
def test_neighbors_equal_the_textbook_formula_over_weighted_histories(name: str, tmp_path: pathlib.Path) -> None:
    rows = make_rows(1)
    found = read_neighbors(
        run(
            write_rows(tmp_path / "in", rows),
            tmp_path / "out",
            f"--similarity={name}",
            "--top_k=7",
            *flags_of(name, PARAMETERS),
        )
    )
    of = oracle.histories(rows)
    if SIMILARITIES[name].binary:
        of = {user: dict.fromkeys(history, 1.0) for user, history in of.items()}
    assert_same(found, oracle.neighbors(of, name, PARAMETERS, 7))


LOCAL = {
    "without a candidate exponent, 1 - item_exponent": {"user_exponent": 0.7, "item_exponent": 0.6},
    "Turbo-CF: equal exponents and a power below 1": {
        "user_exponent": 1.0,
        "item_exponent": 0.5,
        "candidate_exponent": 0.5,
        "locality": 0.6,
    },
    "the sides weighed apart": {
        "user_exponent": 1.0,
        "item_exponent": 0.6,
        "candidate_exponent": 0.3,
        "locality": 0.8,
    },
}


@pytest.mark.parametrize("case", LOCAL)
def test_degree_normalized_takes_an_exponent_for_each_side_and_a_power_below_1(
    case: str, tmp_path: pathlib.Path
) -> None:
    rows = make_rows(8)
    flags = ("--similarity=degree_normalized", "--top_k=7", *flags_of("degree_normalized", LOCAL[case]))
    found = read_neighbors(run(write_rows(tmp_path / "in", rows), tmp_path / "out", *flags))
    parameters = {"shrinkage": 0.0, "locality": 1.0} | LOCAL[case]
    assert_same(found, oracle.neighbors(oracle.histories(rows), "degree_normalized", parameters, 7))


@pytest.mark.parametrize("dedupe", ["last", "first", "max", "sum"])
def test_dedupe_and_decay_give_the_weights_of_the_plain_computation(dedupe: str, tmp_path: pathlib.Path) -> None:
    rows = make_rows(2)
    interactions = write_rows(tmp_path / "in", rows, files=3)
    found = read_neighbors(run(interactions, tmp_path / "out", f"--dedupe={dedupe}", "--half_life=3d"))
    of = oracle.histories(rows, dedupe, half_life_us=3 * DAY_US)
    assert_same(found, oracle.neighbors(of, "cosine", {}, 100))


def test_activity_limits_apply_to_users_first_then_to_items_once(tmp_path: pathlib.Path) -> None:
    rows = make_rows(3)
    flags = (
        "--min_user_items=3",
        "--max_user_items=12",
        "--min_item_users=3",
        "--max_item_users=11",
        "--similarity=lift",
    )
    found = read_neighbors(run(write_rows(tmp_path / "in", rows), tmp_path / "out", *flags))
    kept = {user: history for user, history in oracle.histories(rows).items() if 3 <= len(history) <= 12}
    holders = {i: sum(i in history for history in kept.values()) for history in kept.values() for i in history}
    of = {user: {i: 1.0 for i in history if 3 <= holders[i] <= 11} for user, history in kept.items()}
    of = {user: history for user, history in of.items() if history}
    assert_same(found, oracle.neighbors(of, "lift", {}, 100))


def test_a_cap_keeps_the_newest_items_and_leaves_marginals_alone(tmp_path: pathlib.Path) -> None:
    """u: a at 1, b at 2, c at 3, capped to 2: the pair (b, c) is left; a keeps its marginal. v: a alone."""
    rows = [("u", "a", 1.0, 1), ("u", "b", 1.0, 2), ("u", "c", 1.0, 3), ("v", "a", 1.0, 1), ("v", "b", 1.0, 2)]
    output = run(write_rows(tmp_path / "in", rows), tmp_path / "out", "--max_items_per_user=2")
    found = read_neighbors(output)
    assert [(n.item, n.users) for n in found["a"]] == [("b", 1)]
    assert [n.item for n in found["c"]] == ["b"]
    assert found["c"][0].score == pytest.approx(1 / (1 * 2) ** 0.5)  # b has 2 users, before the cap
    assert found["a"][0].score == pytest.approx(1 / (2 * 2) ** 0.5)


def test_a_cap_without_times_is_a_seeded_choice_that_differs_between_users(tmp_path: pathlib.Path) -> None:
    rows = [(f"u{u}", f"c{c}", 1.0, 0) for u in range(40) for c in range(6)]
    interactions = write_rows(tmp_path / "in", rows, columns="")
    one = run(interactions, tmp_path / "one", "--max_items_per_user=2", "--similarity=count")
    again = run(
        write_rows(tmp_path / "in2", rows[::-1], columns="", files=3),
        tmp_path / "again",
        "--max_items_per_user=2",
        "--similarity=count",
    )
    other = run(interactions, tmp_path / "other", "--max_items_per_user=2", "--similarity=count", "--seed=2")
    pairs = {(item, n.item): n.users for item, found in read_neighbors(one).items() for n in found}
    assert sum(pairs.values()) == 40 * 2  # every user keeps 2 items, so gives one pair in each direction
    assert len(pairs) > 10  # and not all users the same
    assert promised_bytes(one) == promised_bytes(again) != promised_bytes(other)


def test_a_weight_of_zero_as_the_last_word_takes_an_interaction_back(tmp_path: pathlib.Path) -> None:
    rows = [("u", "a", 1.0, 1), ("u", "b", 1.0, 1), ("u", "b", 0.0, 2), ("v", "a", 1.0, 1), ("v", "c", 1.0, 1)]
    output = run(write_rows(tmp_path / "in", rows), tmp_path / "out", "--user_shards=2")
    found = read_neighbors(output)
    assert {item: [n.item for n in ns] for item, ns in found.items()} == {"a": ["c"], "c": ["a"]}
    counters = json.loads((output / "run.json").read_text())["counters"]
    assert {name: counters[name] for name in ("rows_read", "repeats", "zero_weight", "interactions")} == {
        "rows_read": 5,
        "repeats": 1,
        "zero_weight": 1,
        "interactions": 3,
    }


def test_a_file_that_two_patterns_name_is_summed_once_with_a_note(tmp_path: pathlib.Path) -> None:
    interactions = write_rows(tmp_path / "in", make_rows(2), files=2)
    once = run(interactions, tmp_path / "once", "--dedupe=sum")
    twice = run(f"{interactions},{tmp_path}/./in/rows-0.parquet", tmp_path / "twice", "--dedupe=sum")
    assert promised_bytes(twice) == promised_bytes(once)
    record = json.loads((twice / "run.json").read_text())
    assert record["counters"]["rows_read"] == len(make_rows(2))
    assert any("rows-0.parquet: named more than once" in note for note in record["notes"])


WAYS = {
    "shuffle": ("--strategy=shuffle",),
    "seven shards": ("--user_shards=7", "--strategy=broadcast"),
    "shuffle in seven shards, one thread": ("--user_shards=7", "--strategy=shuffle", "--compute_threads=1"),
    "with an increment": ("--keep_increment", "--user_shards=3"),
    "two workers": ("--direct_num_workers=2", "--direct_running_mode=multi_threading", "--user_shards=5"),
}


@pytest.mark.parametrize("measure", ["cosine", "degree_normalized", "llr"])
def test_every_way_of_running_writes_the_same_bytes(measure: str, tmp_path: pathlib.Path) -> None:
    rows = make_rows(4, users=60, items=40, rows=900)
    flags = (f"--similarity={measure}", "--top_k=5", "--max_items_per_user=9", "--half_life=9d")
    flags = flags[:3] if SIMILARITIES[measure].binary else flags
    expected = promised_bytes(run(write_rows(tmp_path / "in", rows), tmp_path / "plain", *flags))
    shuffled = random.Random(0).sample(rows, len(rows))
    for number, (name, way) in enumerate(WAYS.items()):
        interactions = write_rows(tmp_path / f"in{number}", shuffled, files=number + 1)
        assert promised_bytes(run(interactions, tmp_path / f"out{number}", *flags, *way)) == expected, name


@pytest.mark.needs("prism")
@pytest.mark.parametrize("strategy", ["broadcast", "shuffle"])
def test_prism_writes_the_same_bytes_as_fn_api_runner(strategy: str, tmp_path: pathlib.Path, prism: str) -> None:
    rows = make_rows(5, users=60, items=40, rows=900)
    interactions = write_rows(tmp_path / "in", rows, files=3)
    expected = promised_bytes(run(interactions, tmp_path / "here", "--user_shards=4"))
    on_prism = run(
        interactions, tmp_path / "prism", "--user_shards=4", f"--strategy={strategy}", "--runner=PrismRunner",
        f"--prism_location={prism}", "--environment_type=LOOPBACK",
    )  # fmt: skip
    assert promised_bytes(on_prism) == expected


def test_more_items_than_a_block_go_to_several_files_and_lose_none(tmp_path: pathlib.Path) -> None:
    """Items in a ring, each sharing a user with the next: everybody has exactly its two neighbors."""
    items = 5_000
    rows = [(f"u{n}", f"c{(n + step) % items:05d}", 1.0, 0) for n in range(items) for step in (0, 1)]
    interactions = write_rows(tmp_path / "in", rows, columns="")
    output = run(interactions, tmp_path / "out", "--strategy=broadcast")
    assert len(list((output / "neighbors").glob("*.parquet"))) == 2
    found = read_neighbors(output)
    for n in (0, 1, 4_095, 4_096, 4_999):
        ring = sorted((f"c{(n - 1) % items:05d}", f"c{(n + 1) % items:05d}"))
        assert [neighbor.item for neighbor in found[f"c{n:05d}"]] == ring
    assert promised_bytes(
        run(interactions, tmp_path / "shuffled", "--strategy=shuffle", "--user_shards=3")
    ) == promised_bytes(output)


def test_the_run_record_counts_what_was_done_and_names_the_inputs(tmp_path: pathlib.Path) -> None:
    rows = make_rows(6)
    output = run(write_rows(tmp_path / "in", rows, files=2), tmp_path / "out")
    record = json.loads((output / "run.json").read_text())
    of = oracle.histories(rows)
    assert record["counters"]["rows_read"] == len(rows)
    assert record["counters"]["users"] == len(of)
    assert record["counters"]["interactions"] == sum(len(history) for history in of.values())
    assert record["counters"]["pairs_scored"] == sum(len(n) for n in oracle.neighbors(of, "count", {}, 10**6).values())
    assert [pathlib.Path(each["uri"]).name for each in record["inputs"]] == ["rows-0.parquet", "rows-1.parquet"]
    assert {each["uri"] for each in record["outputs"]} >= {"items.parquet", "neighbors/part-00000-of-00001.parquet"}
    assert not list(output.glob(".tmp-*"))


@pytest.mark.parametrize("spread", ["decay over two years", "one outlier", "all tiny", "tiny and huge"])
def test_scores_stay_right_however_far_apart_the_weights_are(spread: str, tmp_path: pathlib.Path) -> None:
    """o1 and o2 always together, n1 and n2 always together, a bridge: cosines are those of the plain formula."""
    weights, days, flags = {
        "decay over two years": ((1.0, 1.0), 700, ["--half_life=30d"]),
        "one outlier": ((1.0, 1e12), 0, []),
        "all tiny": ((1e-7, 3e-7), 0, []),
        "tiny and huge": ((1e-20, 1e20), 0, []),
    }[spread]
    rows = [(f"a{u}", item, weights[0], 0) for u in range(3) for item in ("o1", "o2")]
    rows += [(f"b{u}", item, weights[1], days * DAY_US) for u in range(3) for item in ("n1", "n2")]
    rows += [("a0", "n1", weights[0], 0), ("b0", "o1", weights[1], days * DAY_US)]
    found = read_neighbors(run(write_rows(tmp_path / "in", rows), tmp_path / "out", *flags))
    of = oracle.histories(rows, half_life_us=30 * DAY_US if flags else None)
    assert_same(found, oracle.neighbors(of, "cosine", {}, 100), tolerance=1e-5)


@pytest.mark.parametrize("measure", ["rp3beta", "degree_normalized"])
def test_walks_over_decayed_weights_are_finite_and_right(measure: str, tmp_path: pathlib.Path) -> None:
    rows = [(user, item, weight, time * 3) for user, item, weight, time in make_rows(9)]
    parameters = PARAMETERS | {"shrinkage": 0.0, "locality": 1.0}
    flags = (f"--similarity={measure}", "--half_life=2d", *flags_of(measure, parameters))
    found = read_neighbors(run(write_rows(tmp_path / "in", rows), tmp_path / "out", *flags))
    of = oracle.histories(rows, half_life_us=2 * DAY_US)
    expected = oracle.neighbors(of, measure, parameters, 100)
    for item, neighbors in expected.items():
        got = {neighbor.item: neighbor.score for neighbor in found[item]}
        assert got == pytest.approx({neighbor.item: neighbor.score for neighbor in neighbors}, rel=1e-4, abs=1e-7)
