"""The people that the demo shows: drawn by a fixed hash from held-out users, with a hit rate over all of them."""

from __future__ import annotations

import pathlib
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rich.console
import siphash24

from examples.course_platform import serve
from examples.course_platform.people import Person, choose, held_out, hit_rate
from serving_client import Client, Recommendation

PEOPLE = [Person(f"u{number:04d}", ["a"], frozenset({"b"})) for number in range(200)]


class Fake(Client):
    """Recommends the same items to everybody, and explains each score by its first history item."""

    def __init__(self, items: Sequence[str]) -> None:
        self.items, self.requests = list(items), 0

    def recommend(self, history: Sequence[str], **options: Any) -> Recommendation:
        return Recommendation(self.items[: options["k"]], np.ones(options["k"], np.float32), "cf", 1, "", 1)

    def recommend_many(self, histories: Sequence[Sequence[str]], **options: Any) -> list[Recommendation]:
        self.requests += 1
        return [self.recommend(history, **options) for history in histories]

    def explain(self, history: Sequence[str], items: Sequence[str], **options: Any) -> Any:
        return np.array([[1.0] + [-0.5] * (len(history) - 1)] * len(items))


def test_people_are_drawn_by_their_hash_alone() -> None:
    key = (1).to_bytes(8, "little") + bytes(8)
    ranked = sorted(PEOPLE, key=lambda p: siphash24.siphash24(p.user.encode(), key=key).digest()[::-1])
    drawn = choose(PEOPLE, 3)
    assert drawn == ranked[:3]
    shuffled = random.Random(1).sample(PEOPLE, len(PEOPLE))
    assert choose(shuffled, 3) == drawn
    assert choose([*drawn, PEOPLE[0]], 3) == drawn


def test_all_people_are_drawn_if_there_are_fewer() -> None:
    assert len(choose(PEOPLE[:2], 3)) == 2
    assert choose([], 3) == []


def test_held_out_users_have_a_history_in_order_of_time_and_something_to_find(tmp_path: pathlib.Path) -> None:
    rows = [
        # user, item, timestamp, given
        ("both", "b", 2, True),
        ("both", "a", 1, True),
        ("both", "b", 3, True),
        ("both", "c", 4, False),
        ("both", "a", 5, False),  # in the history: no model recommends it again
        ("repeats", "a", 1, True),
        ("repeats", "a", 2, False),
        ("no history", "a", 1, False),
        ("unknown", "z", 1, True),
        ("unknown", "a", 2, False),
    ]
    names = ("user_id", "item_id", "timestamp", "given")
    pq.write_table(pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), tmp_path / "a.parquet")
    assert held_out(tmp_path, {"a", "b", "c"}) == [Person("both", ["a", "b"], frozenset({"c"}))]


def test_the_hit_rate_is_the_share_of_people_with_a_hit_among_the_k_best() -> None:
    people = [Person(f"u{n}", ["a"], frozenset({"y" if n < 50 else "z"})) for n in range(250)]
    client = Fake(["x", "y", "z"])
    assert hit_rate(client, "cf", people, 2) == 50 / 250
    assert client.requests == 3
    assert hit_rate(client, "cf", people, 1) == 0
    assert hit_rate(client, "cf", people, 3) == 1


@pytest.mark.parametrize("hits", [False, True])
def test_a_column_that_is_empty_for_everybody_is_left_out(hits: bool) -> None:
    person = Person("u1", ["a", "b"], frozenset({"c"}))
    client, console = Fake(["c", "d"]), rich.console.Console(width=120)
    titles = {"a": "Art", "b": "Baking", "c": "Chess", "d": "Dance"}
    with console.capture() as shown:
        console.print(serve._table(client, titles, person, client.recommend(person.given, k=2), hits, timed=True))
    assert ("Taken later" in shown.get()) is hits
    assert ("✓" in shown.get()) is hits
    assert "Art (+1.000)" in shown.get()
    assert "Baking (" not in shown.get()  # it lowers the score, so it is no reason
