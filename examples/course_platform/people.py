"""Read the held-out users, choose some of them by a fixed hash, and measure how often a served model is right."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Collection, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from serving_client import Client
from transforms.hashing import siphash

__all__ = ["Person", "choose", "held_out", "hit_rate"]

SEED = 1  # of the hash, so that nobody picked the people for their results
PER_REQUEST = 100  # histories in a request


@dataclasses.dataclass(frozen=True)
class Person:
    """A held-out user.

    Attributes:
        user: User id.
        given: Distinct items that the model sees, oldest first.
        later: Items to find. None of them is in `given`, because a model never recommends those again.
    """

    user: str
    given: Sequence[str]
    later: frozenset[str]


def held_out(holdout: pathlib.Path, known: Collection[str]) -> list[Person]:
    """Return the held-out users who have a history and an item to find, sorted by id.

    Args:
        holdout: Folder with the held-out users.
        known: Items of the model. All others are left out.
    """
    rows = pq.read_table(holdout)
    rows = rows.filter(pc.is_in(pc.cast(rows["item_id"], pa.string()), pa.array(sorted(known))))
    if "timestamp" in rows.column_names:
        rows = rows.sort_by("timestamp")
    histories: dict[str, dict[bool, list[str]]] = {}
    columns = (rows[name].to_pylist() for name in ("user_id", "item_id", "given"))
    for user, item, given in zip(*columns, strict=True):
        histories.setdefault(str(user), {True: [], False: []})[given].append(item)
    people = [
        Person(user, list(dict.fromkeys(items[True])), frozenset(items[False]) - frozenset(items[True]))
        for user, items in sorted(histories.items())
    ]
    return [person for person in people if person.given and person.later]


def choose(people: Sequence[Person], count: int) -> list[Person]:
    """Return the `count` people with the smallest hash of their id, or all if there are fewer."""
    hashes = siphash(pa.array([person.user for person in people], pa.string()), SEED).tolist()
    ranked = sorted(zip(hashes, people, strict=True), key=lambda pair: (pair[0], pair[1].user))
    return [person for _, person in ranked[:count]]


def hit_rate(client: Client, model: str, people: Sequence[Person], k: int) -> float:
    """Return the share of people for whom at least one of the model's k best recommendations is an item to find."""
    hits = 0
    for start in range(0, len(people), PER_REQUEST):
        part = people[start : start + PER_REQUEST]
        answers = client.recommend_many([person.given for person in part], model=model, k=k)
        hits += sum(not person.later.isdisjoint(answer.items) for person, answer in zip(part, answers, strict=True))
    return hits / len(people)
