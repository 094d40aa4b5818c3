"""Divide users into training, validation and test users, and held-out users' items into input items and targets.

A user's place is SipHash(split.seed, user_id) with its halves swapped, from 0 to 2^64 - 1. Validation users are at the
lower end and test users at the upper end. The division depends on ids and on the number of users, but not on files,
order or workers. It stays the same from day to day if the fraction does. Halves are swapped because `evaluate split`
takes its held-out users from the lower end of the hash itself. Almost none of its training users would be at the lower
end of the same order.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from pipelines.vae_train.config import SplitRule
from pipelines.vae_train.features.histories import Histories, hash_pairs
from transforms.hashing import siphash

__all__ = [
    "SPLITS",
    "TEST",
    "TRAIN",
    "VALIDATION",
    "Division",
    "Summary",
    "choose_given",
    "divide_users",
    "merge_summaries",
    "plan_division",
    "summarise",
]

TRAIN, VALIDATION, TEST = 0, 1, 2
SPLITS = ("train", "validation", "test")
_RANGE = 1 << 64
_LEAST, _MOST = 567.0, 9_700.0
"""500 and 10,000 with a margin of three standard deviations, because a hash selects the number only on average."""
_USERS_PER_FILE = 50_000
"""An example of 20 items takes about 200 bytes, so a file takes 10 MB. It is small enough to shuffle."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """Facts about all users that the division needs.

    Attributes:
        users: Number of users.
        interactions: Number of interactions.
        zero_weight: Number of further interactions that were left out because their weight is 0.
        first_place: Smallest place of a user with at least two items. None if there is no such user.
        last_place: Largest place of a user. None without users.
        oldest_us: Oldest timestamp in microseconds. None without times.
        newest_us: Newest timestamp in microseconds. None without times.
        has_weight: Whether interactions have weights.
        has_timestamp: Whether interactions have times.
    """

    users: int = 0
    interactions: int = 0
    zero_weight: int = 0
    first_place: int | None = None
    last_place: int | None = None
    oldest_us: int | None = None
    newest_us: int | None = None
    has_weight: bool = False
    has_timestamp: bool = False


@dataclasses.dataclass(frozen=True)
class Division:
    """The division of users by place.

    For any fraction, at least one user validates and at least one does not.

    Attributes:
        validation_below: Users at lower places are validation users.
        test_from: Other users from this place on are test users. The remaining users train.
        validates: Place of a user who always validates, or None.
        never_validates: Place of a user who never validates, or None.
        files: Number of example files per TRAIN, VALIDATION and TEST. 0 for a split that cannot have users.
    """

    validation_below: int
    test_from: int
    validates: int | None
    never_validates: int | None
    files: tuple[int, int, int]


def summarise(histories: Histories, split: SplitRule) -> Summary:
    """Summarise one shard."""
    places = _places(histories, split)
    divisible = places[histories.lengths >= 2]
    times = histories.timestamps
    timed = times is not None and len(times) > 0
    return Summary(
        users=len(histories.users),
        interactions=len(histories.codes),
        zero_weight=histories.zero_weight,
        first_place=int(divisible.min()) if len(divisible) else None,
        last_place=int(places.max()) if len(places) else None,
        oldest_us=int(times.min()) if timed and times is not None else None,
        newest_us=int(times.max()) if timed and times is not None else None,
        has_weight=histories.weights is not None,
        has_timestamp=times is not None,
    )


def merge_summaries(summaries: Iterable[Summary]) -> Summary:
    """Merge the summaries of all shards."""
    merged = Summary()
    for each in summaries:
        merged = Summary(
            users=merged.users + each.users,
            interactions=merged.interactions + each.interactions,
            zero_weight=merged.zero_weight + each.zero_weight,
            first_place=_pick(min, merged.first_place, each.first_place),
            last_place=_pick(max, merged.last_place, each.last_place),
            oldest_us=_pick(min, merged.oldest_us, each.oldest_us),
            newest_us=_pick(max, merged.newest_us, each.newest_us),
            has_weight=merged.has_weight or each.has_weight,
            has_timestamp=merged.has_timestamp or each.has_timestamp,
        )
    return merged


def plan_division(summary: Summary, split: SplitRule, analyze_all: bool) -> Division:
    """Plan the division of users.

    Args:
        summary: Summary of all shards.
        split: Fractions of the splits.
        analyze_all: Whether validation users train (a refit). Test users never train.
    """
    fraction = 0.0 if analyze_all else _validation_fraction(summary.users, split)
    return Division(
        validation_below=min(_RANGE, round(fraction * _RANGE)),
        test_from=max(0, _RANGE - round(split.test_fraction * _RANGE)),
        validates=None if analyze_all else summary.first_place,
        never_validates=None if summary.last_place == summary.first_place else summary.last_place,
        files=(
            _files(summary.users),
            0 if analyze_all else _files(fraction * summary.users),
            0 if split.test_fraction == 0 else _files(split.test_fraction * summary.users),
        ),
    )


def divide_users(histories: Histories, split: SplitRule, division: Division) -> npt.NDArray[np.int8]:
    """Return TRAIN, VALIDATION or TEST for each user, int8 [users]."""
    places = _places(histories, split)
    validates = _below(places, division.validation_below) & ~_at(places, division.never_validates)
    splits = np.full(len(places), TRAIN, np.int8)
    splits[~_below(places, division.test_from)] = TEST
    splits[validates | _at(places, division.validates)] = VALIDATION
    return splits


def choose_given(histories: Histories, split: SplitRule) -> npt.NDArray[np.bool_]:
    """Choose the input items of held-out users. The other items are targets.

    A user with n items has round(fold_in n) input items, rounded half up. The number is at least 1, and at most n - 1
    if n is at least 2. `time` chooses the oldest items. `user` chooses the smallest hashes of user and item.

    Args:
        histories: The users.
        split: Fold-in share and method.

    Returns:
        bool [entries].
    """
    lengths = histories.lengths
    given = np.floor(split.fold_in * lengths + 0.5).astype(np.int64)
    given = np.clip(given, 1, np.maximum(lengths - 1, 1))
    row = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(row)) - histories.indptr[:-1][row]
    if split.by == "user":
        hashes = hash_pairs(histories.keys[row], histories.items, histories.codes, split.seed)
        by_hash = np.empty(len(row), np.int64)
        by_hash[np.lexsort((hashes, row))] = place  # rows are ascending and stay ascending
        place = by_hash
    shown: npt.NDArray[np.bool_] = place < given[row]
    return shown


def _validation_fraction(users: int, split: SplitRule) -> float:
    if split.validation_fraction is not None:
        return split.validation_fraction
    return min(max(0.05 * users, _LEAST), _MOST, 0.2 * users) / max(1, users)


def _files(users: float) -> int:
    return max(1, math.ceil(users / _USERS_PER_FILE))


def _places(histories: Histories, split: SplitRule) -> npt.NDArray[np.uint64]:
    hashes = siphash(histories.users, split.seed)
    places: npt.NDArray[np.uint64] = (hashes << np.uint64(32)) | (hashes >> np.uint64(32))
    return places


def _below(places: npt.NDArray[np.uint64], limit: int) -> npt.NDArray[np.bool_]:
    below: npt.NDArray[np.bool_] = np.ones(len(places), np.bool_) if limit >= _RANGE else places < np.uint64(limit)
    return below


def _at(places: npt.NDArray[np.uint64], place: int | None) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = np.zeros(len(places), np.bool_) if place is None else places == np.uint64(place)
    return found


def _pick(choose: Callable[[int, int], int], one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return choose(one, other)
