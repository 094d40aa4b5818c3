"""Read the users on which a model is validated or tested: their input items and their targets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pipelines.vae_train.training.reading import read_users
from transforms.ranking.lists import Lists

__all__ = ["HeldOut", "number_targets", "read_heldout"]


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOut:
    """Held-out users.

    Attributes:
        keys: uint64 [users].
        given: Input items in the vocabulary, oldest first. A user may have none.
        sides: int32 values of each side column, aligned with the items of `given`.
        targets: Item indices to rank high, sorted, at least one per user. Items outside the vocabulary have numbers
            from `items` on.
        items: Size of the vocabulary.
        numbers: Largest number in `targets` plus 1, at least `items`.
    """

    keys: npt.NDArray[np.uint64]
    given: Lists
    sides: Mapping[str, npt.NDArray[np.int32]]
    targets: Lists
    items: int
    numbers: int

    def __len__(self) -> int:
        return len(self.keys)

    def part(self, start: int, stop: int) -> HeldOut:
        """Return the users from start to stop - 1."""
        places = slice(int(self.given.indptr[start]), int(self.given.indptr[min(stop, len(self))]))
        return dataclasses.replace(
            self,
            keys=self.keys[start:stop],
            given=self.given.part(start, stop),
            sides={name: values[places] for name, values in self.sides.items()},
            targets=self.targets.part(start, stop),
        )


def read_heldout(features_dir: str, split: str, items: int, sides: Sequence[str] = ()) -> HeldOut:
    """Read the users of a split.

    Args:
        features_dir: Folder of the features.
        split: `validation` or `test`. A split without files has no users.
        items: Size of the vocabulary.
        sides: Names of the side columns.

    Raises:
        BadInput: A file is damaged.
    """
    users = read_users(features_dir, split, sides)
    targets = number_targets(users.targets, items)
    numbers = max(items, int(targets.items.max(initial=-1)) + 1)
    return HeldOut(users.keys, users.items, users.sides, targets, items, numbers)


def number_targets(targets: Lists, items: int) -> Lists:
    """Sort the targets and number each user's unknown targets (-1) as items, items + 1, and so on."""
    rows, numbers = targets.rows(), targets.items.astype(np.int64)
    unknown = numbers < 0
    before = np.concatenate([[0], np.cumsum(unknown)])  # unknown targets before each place
    numbers[unknown] = items + (before[:-1] - before[targets.indptr[:-1]][rows])[unknown]
    return Lists(targets.indptr, numbers[np.lexsort((numbers, rows))].astype(np.int32))
