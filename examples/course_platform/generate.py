"""Generate the log of a fictional course platform, whose users learn along prerequisites, as input of batch_cf.

    python -m examples.course_platform.generate --output=DIR [--seed=1] [--users=20000]

The command writes these files:

- DIR/interactions/2024-q1.parquet and so on, one file per quarter of two years: user_id, item_id, weight (progress in
  the course), timestamp (epoch seconds).
- DIR/items.csv: item_id, title, author, topic, level, available.
- DIR/generated.json, the last file, which marks the folder as complete.

Equal arguments and library versions give equal bytes.

A user has a level and one to three topics, mostly of one area. A user takes the subjects of a topic in their order of
learning. Sometimes a user jumps within the topic or takes one of the month's most popular courses. Topics have a
season.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import datetime
import json
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from examples.course_platform.catalogue import LEVELS, TOPICS, titles

__all__ = ["Course", "Log", "courses", "interactions", "is_complete", "main", "write"]

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

START = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
DAYS = 731  # to the end of 2025, since 2024 is a leap year
MONTHS = 24
TOPICS_PER_USER = 3
COURSES_PER_SUBJECT = 5
AUTHORS_PER_TOPIC = 5

# Probability of the next step: next subject, same subject, any subject of the topic, a popular course of the month.
NEXT, STAY, JUMP, HITS = 0.52, 0.13, 0.17, 0.18

FIRST_NAMES = (
    "Amara Anders Beatriz Chen Daniela Elif Emeka Farah Grace Hanna Ines Ivan Jonas Kavita Kenji Lars Leila Lucía "
    "Marek Mei Miguel Nadia Noor Olga Omar Paolo Priya Ravi Sofia Tariq Thandi Tomás Ulrike Viktor Yara Zoe"
).split()
LAST_NAMES = (
    "Abe Adeyemi Almeida Andersson Bauer Bianchi Castillo Chowdhury Dubois Eriksen Fischer García Haddad Hoang Ito "
    "Ivanova Jensen Kaya Kim Kowalski Larsen Lindqvist Mbeki Mehta Moreau Nakamura Novak Okafor Oliveira Park Petrov "
    "Rossi Sato Schneider Silva Singh Tanaka Walsh Weber Zhang"
).split()


@dataclasses.dataclass(frozen=True)
class Course:
    """A row of items.csv. Topic and subject are positions in the catalogue, and the level is 0 to 2."""

    item_id: str
    title: str
    author: str
    topic: int
    subject: int
    level: int
    available: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Log:
    """Interactions sorted by time. All arrays are [n].

    Attributes:
        users: Indices of users.
        items: Indices of courses.
        progress: Greater than 0 and at most 1.
        seconds: Epoch seconds.
    """

    users: Int64s
    items: Int64s
    progress: Float64s
    seconds: Int64s


def courses(rng: np.random.Generator) -> list[Course]:
    """Return all 1,500 courses, sorted by topic, subject and pattern. About 2% are no longer available."""
    full_names = [f"{first} {last}" for first in FIRST_NAMES for last in LAST_NAMES]
    names = rng.choice(full_names, size=(len(TOPICS), AUTHORS_PER_TOPIC), replace=False)
    rows: list[Course] = []
    for topic, description in enumerate(TOPICS):
        for title, subject, level in titles(description):
            author = str(names[topic, rng.integers(AUTHORS_PER_TOPIC)])
            gone = bool(rng.random() < 0.02)
            rows.append(Course(f"c{len(rows):04d}", title, author, topic, subject, level, not gone))
    return rows


def interactions(rng: np.random.Generator, catalogue: Sequence[Course], users: int) -> Log:
    """Simulate the log of all users.

    A user has about thirty interactions (log-normal) and may take a course again. The loop is over steps and not over
    users: all users take their first step together, then their second.

    Args:
        rng: Source of random numbers.
        catalogue: All courses.
        users: Number of users.
    """
    topics, interests = _interests(rng, users)
    lengths = np.clip(rng.lognormal(np.log(22), 0.8, users), 3, 400).astype(np.int64)
    seconds = _times(rng, lengths)
    season = _season()
    hits = _monthly_popularity(rng, catalogue, season)
    appeal = np.cumsum(rng.dirichlet(np.full(COURSES_PER_SUBJECT, 1.5), len(catalogue) // COURSES_PER_SUBJECT), axis=1)
    subjects = np.array([len(t.subjects) for t in TOPICS])
    first_course = np.concatenate(([0], np.cumsum(subjects)))[:-1] * COURSES_PER_SUBJECT
    skill = rng.choice(3, users, p=[0.5, 0.3, 0.2])
    position = rng.integers(0, subjects[topics] // 2)  # [users, 3]; users start in the first half of a topic

    offsets = np.concatenate(([0], np.cumsum(lengths)))[:-1]
    items = np.empty(lengths.sum(), dtype=np.int64)
    for step in range(int(lengths.max())):
        who = np.flatnonzero(lengths > step)
        at = offsets[who] + step
        month = np.minimum((seconds[at] - int(START.timestamp())) * MONTHS // (DAYS * 86_400), MONTHS - 1)
        wish = np.cumsum(interests[who] * season[month[:, None], topics[who]], axis=1)
        choice = (rng.random(len(who))[:, None] * wish[:, -1:] >= wish).sum(axis=1)
        topic, act = topics[who, choice], rng.random(len(who))
        here, last = position[who, choice], subjects[topic] - 1
        anywhere = rng.integers(0, last + 1)
        here = np.where(act < NEXT, np.where(here < last, here + 1, anywhere), here)
        here = np.where((act >= NEXT + STAY) & (act < NEXT + STAY + JUMP), anywhere, here)
        position[who, choice] = here

        subject = first_course[topic] // COURSES_PER_SUBJECT + here
        pattern = (rng.random(len(who))[:, None] > appeal[subject]).sum(axis=1)
        leveled = np.minimum(2 * skill[who] + rng.integers(0, 2, len(who)), COURSES_PER_SUBJECT - 1)
        pattern = np.where(rng.random(len(who)) < 0.5, leveled, pattern)  # patterns are sorted by level
        taken = subject * COURSES_PER_SUBJECT + pattern

        # One search covers all months, because the cumulative shares of month m are in (m, m + 1].
        popular = np.searchsorted(hits, month + rng.random(len(who)))
        items[at] = np.where(act >= 1 - HITS, np.minimum(popular, (month + 1) * len(catalogue) - 1), taken)
        items[at] %= len(catalogue)

    progress = np.clip(np.round(rng.beta(1.6, 1.1, len(items)), 2), 0.05, 1.0)
    owners = np.repeat(np.arange(users), lengths)
    order = np.lexsort((owners, seconds))
    return Log(owners[order], items[order], progress[order], seconds[order])


def write(directory: pathlib.Path, seed: int, users: int) -> int:
    """Generate and write a platform. An interrupted call leaves an incomplete folder.

    Args:
        directory: Folder to write.
        seed: Seed of the random numbers.
        users: Number of users.

    Returns:
        The number of interactions.
    """
    rng = np.random.default_rng(seed)
    catalogue = courses(rng)
    log = interactions(rng, catalogue, users)
    (directory / "generated.json").unlink(missing_ok=True)
    (directory / "interactions").mkdir(parents=True, exist_ok=True)
    _write_items(directory / "items.csv", catalogue)
    _write_interactions(directory / "interactions", log, catalogue, users)
    (directory / "generated.json").write_text(_record(seed, users))
    return len(log.users)


def is_complete(directory: pathlib.Path, seed: int, users: int) -> bool:
    """Return whether the folder holds the complete result of `write` for these arguments."""
    record = directory / "generated.json"
    return record.exists() and record.read_text() == _record(seed, users)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the generator and return its exit code."""
    parser = argparse.ArgumentParser(prog="generate", description="write the log of a fictional course platform")
    parser.add_argument("--output", required=True, type=pathlib.Path, help="folder to write")
    parser.add_argument("--seed", type=int, default=1, help="equal seeds give equal files (default 1)")
    parser.add_argument("--users", type=int, default=20_000, help="number of users, at least 1 (default 20000)")
    options = parser.parse_args(argv)
    if options.users < 1:
        parser.error(f"--users={options.users}: use 1 or more")
    rows = write(options.output, options.seed, options.users)
    print(f"{options.output}: {rows:,} interactions of {options.users:,} users", file=sys.stderr)
    return 0


def _interests(rng: np.random.Generator, users: int) -> tuple[Int64s, Float64s]:
    """Draw distinct topics [users, 3], mostly of the first topic's area, and the interest in each [users, 3]."""
    count = len(TOPICS)
    areas = np.array([sorted({t.area for t in TOPICS}).index(t.area) for t in TOPICS])
    fame = rng.dirichlet(np.full(count, 3.0))
    first = rng.choice(count, users, p=fame)
    near = np.log(fame) + 2.5 * (areas[first][:, None] == areas)
    near[np.arange(users), first] = -np.inf
    ranked = np.argsort(-(near + rng.gumbel(size=near.shape)), axis=1)  # draws without replacement, in order
    topics = np.column_stack([first, ranked[:, : TOPICS_PER_USER - 1]])
    shares = -np.sort(-rng.dirichlet(np.array([1.2, 0.5, 0.25]), users), axis=1)
    return topics, shares


def _times(rng: np.random.Generator, lengths: Int64s) -> Int64s:
    """Draw epoch seconds, ascending per user. Users join over the two years and learn in bursts, in the evening."""
    joined = DAYS * (1 - rng.random(len(lengths)) ** 1.3) * 0.9
    stay = np.minimum(rng.gamma(2.0, 120.0, len(lengths)) + 7, DAYS - joined)
    start, span = np.repeat(joined, lengths), np.repeat(stay, lengths)
    day = np.minimum(np.floor(start + span * rng.beta(0.7, 1.3, len(start))), DAYS - 1)
    second = np.clip(rng.normal(19.5, 3.0, len(start)), 0, 23.99) * 3600
    seconds = int(START.timestamp()) + (day * 86_400 + second).astype(np.int64)
    users = np.repeat(np.arange(len(lengths)), lengths)
    return np.asarray(seconds[np.lexsort((seconds, users))], dtype=np.int64)


def _season() -> Float64s:
    """Return the demand for each topic in each month relative to the average, [24 months, topics]."""
    peak = np.array([topic.peak_month for topic in TOPICS])
    return np.asarray(np.exp(np.cos(2 * np.pi * (np.arange(MONTHS)[:, None] + 1 - peak) / 12)), dtype=np.float64)


def _monthly_popularity(rng: np.random.Generator, catalogue: Sequence[Course], season: Float64s) -> Float64s:
    """Draw cumulative popularity shares [24 x courses]. Those of month m are in (m, m + 1]."""
    rank = rng.permutation(len(catalogue))
    base = 1.0 / (rank + 5.0)
    month = np.arange(MONTHS)[:, None]
    trend = np.exp(rng.normal(0, 0.5, len(catalogue)) * (month / MONTHS - 0.5))
    weight = base * trend * season[:, [course.topic for course in catalogue]]
    shares = np.cumsum(weight / weight.sum(axis=1, keepdims=True), axis=1)
    shares[:, -1] = 1.0
    return np.asarray((month + shares).ravel(), dtype=np.float64)


def _write_items(path: pathlib.Path, catalogue: Sequence[Course]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["item_id", "title", "author", "topic", "level", "available"])
        for c in catalogue:
            available = "true" if c.available else "false"
            writer.writerow([c.item_id, c.title, c.author, TOPICS[c.topic].name, LEVELS[c.level], available])


def _write_interactions(directory: pathlib.Path, log: Log, catalogue: Sequence[Course], users: int) -> None:
    """Write one file per quarter. Ids are dictionary columns, which avoids the cost of writing strings."""
    user_ids = pa.array([f"u{user:06d}" for user in range(users)])
    item_ids = pa.array([course.item_id for course in catalogue])
    for year, quarter in ((year, quarter) for year in (2024, 2025) for quarter in (1, 2, 3, 4)):
        start, end = _quarter_start(year, quarter), _quarter_start(year, quarter + 1)
        part = slice(*np.searchsorted(log.seconds, [start, end]))
        table = pa.table(
            {
                "user_id": pa.DictionaryArray.from_arrays(log.users[part].astype(np.int32), user_ids),
                "item_id": pa.DictionaryArray.from_arrays(log.items[part].astype(np.int32), item_ids),
                "weight": log.progress[part],
                "timestamp": log.seconds[part],
            }
        )
        pq.write_table(table, directory / f"{year}-q{quarter}.parquet", compression="zstd")


def _quarter_start(year: int, quarter: int) -> int:
    years, month = divmod(3 * (quarter - 1), 12)
    return int(datetime.datetime(year + years, month + 1, 1, tzinfo=datetime.UTC).timestamp())


def _record(seed: int, users: int) -> str:
    return json.dumps({"generator": 1, "seed": seed, "users": users}) + "\n"


if __name__ == "__main__":
    sys.exit(main())
