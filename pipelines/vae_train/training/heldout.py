"""The users a model is validated or tested on: what they show, what is asked for."""

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
    """Held-out users. keys: uint64 [users]; given: known items, oldest first, possibly none; sides: int32, as given.

    targets: at least one item a user, sorted; items that the model does not know have numbers from `items` on.
    items: of the model. numbers: one above the largest number of a target.
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
        """Users start..stop-1."""
        places = slice(int(self.given.indptr[start]), int(self.given.indptr[min(stop, len(self))]))
        return dataclasses.replace(
            self,
            keys=self.keys[start:stop],
            given=self.given.part(start, stop),
            sides={name: values[places] for name, values in self.sides.items()},
            targets=self.targets.part(start, stop),
        )


def read_heldout(features_dir: str, split: str, items: int, sides: Sequence[str] = ()) -> HeldOut:
    """The users of the split `validation` or `test`; nobody if it has none. Raises BadInput for a damaged file."""
    users = read_users(features_dir, split, sides)
    targets = number_targets(users.targets, items)
    numbers = max(items, int(targets.items.max(initial=-1)) + 1)
    return HeldOut(users.keys, users.items, users.sides, targets, items, numbers)


def number_targets(targets: Lists, items: int) -> Lists:
    """Sorted targets in which a user's unknown ones (-1) become items, items + 1, ...: they count and are never hit."""
    rows, numbers = targets.rows(), targets.items.astype(np.int64)
    unknown = numbers < 0
    before = np.concatenate([[0], np.cumsum(unknown)])  # unknown targets before each place
    numbers[unknown] = items + (before[:-1] - before[targets.indptr[:-1]][rows])[unknown]
    return Lists(targets.indptr, numbers[np.lexsort((numbers, rows))].astype(np.int32))
