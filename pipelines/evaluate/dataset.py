"""Build the dataset of an evaluation: the train matrix, and a history and targets for every user.

Two protocols define where a history comes from:

    fold_in   the holdout's own rows marked `given`; train users are others (strong generalization)
    per_user  the user's train rows; the holdout rows are the targets (the Gowalla and LightGCN splits)

A user does not have an item whose newest interaction, in train or in the holdout, has weight 0. Its rows are left out
and counted.

Targets are distinct. A target that the history already holds is left out and counted, because history items are never
ranked. A target that train does not have stays in every denominator and is counted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from transforms.errors import BadInput
from transforms.histories.dedupe import taken_back
from transforms.ranking.lists import Lists

__all__ = ["Counts", "Dataset", "build", "check_counts", "compact"]

TRAIN, GIVEN, TARGET = 0, 1, 2
SCHEMA = pa.schema(
    {
        "user_id": pa.dictionary(pa.int32(), pa.string()),
        "item_id": pa.dictionary(pa.int32(), pa.string()),
        "timestamp": pa.int64(),
        "weightless": pa.bool_(),
        "part": pa.int8(),
    }
)


@dataclasses.dataclass(frozen=True)
class Counts:
    """What went into the evaluation. Rows, users and targets that are left out are counted with the reason.

    Args:
        zero_weight: Rows of train and holdout that were left out because the newest of the pair has weight 0.
    """

    protocol: str
    train_rows: int
    holdout_rows: int
    train_users: int
    train_items: int
    users_evaluated: int
    users_empty_holdout: int
    users_without_history: int
    users_also_in_train: int
    targets: int
    targets_unknown_to_train: int
    targets_in_history: int
    zero_weight: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """The train matrix, and the histories and targets of the evaluated users.

    Args:
        items: string [items], all of train and holdout, unique, in UTF-8 byte order. An index is a place here.
        users: string [evaluated users], in the same order as histories and targets.
        train: 0/1 float64 [train users, items].
        histories: Distinct items, oldest first (by index where there are no times).
        targets: Distinct items, by index.
    """

    items: pa.StringArray
    users: pa.StringArray
    train: sp.csr_array
    histories: Lists
    targets: Lists
    counts: Counts

    def item_users(self) -> npt.NDArray[np.int64]:
        """Return the train users of every item, int64 [items]; 0 = not in train."""
        return np.bincount(self.train.indices, minlength=len(self.items)).astype(np.int64)


def check_counts(counts: Counts) -> None:
    """Check that a user can be evaluated.

    Raises:
        BadInput: No user has an item to find.
    """
    if counts.users_evaluated == 0:
        raise BadInput(
            f"--holdout: none of {counts.users_empty_holdout} users has an item to find ({counts.holdout_rows} rows, "
            f"{counts.targets_in_history} of them already in a history); check --holdout and --protocol"
        )


def compact(block: pa.RecordBatch, holdout: bool) -> pa.RecordBatch:
    """Keep only what `build` needs of an interactions block.

    These are user_id, item_id, timestamp (0 without one), weightless (whether the weight is 0) and part.

    A holdout row is a target unless its column `given` is true.
    """
    rows = block.num_rows
    names = block.schema.names
    times = block.column("timestamp") if "timestamp" in names else pa.array(np.zeros(rows, np.int64))
    weightless = pc.equal(block.column("weight"), 0.0) if "weight" in names else pa.array(np.zeros(rows, np.bool_))
    if not holdout:
        part = np.full(rows, TRAIN, np.int8)
    elif "given" in names:
        part = np.where(block.column("given").to_numpy(zero_copy_only=False), GIVEN, TARGET).astype(np.int8)
    else:
        part = np.full(rows, TARGET, np.int8)
    ids = [_encoded(block.column(name)) for name in ("user_id", "item_id")]
    return pa.RecordBatch.from_arrays([*ids, times, weightless, pa.array(part)], schema=SCHEMA)


def build(blocks: Sequence[pa.RecordBatch], protocol: str | None) -> Dataset:
    """Build the dataset from all compacted blocks. The order of the blocks does not matter.

    Args:
        blocks: Output of `compact`.
        protocol: `fold_in`, `per_user`, or None for fold_in if any row is marked given, otherwise per_user.

    Returns:
        The dataset.
    """
    users, user, items, item, times, weightless, part = _rows(blocks)
    del blocks
    read = len(user)
    if weightless.any():
        keys = (user * len(items) + item) * 2 + (part == TRAIN)
        stay = ~taken_back(keys, np.where(weightless, 0.0, 1.0), times)
        user, item, times, part = user[stay], item[stay], times[stay], part[stay]
    if protocol is None:
        protocol = "fold_in" if bool((part == GIVEN).any()) else "per_user"
    width = len(items)
    in_train = part == TRAIN
    train, train_users = _matrix(user[in_train], item[in_train], width)

    wanted = np.unique(user[~in_train])
    if protocol == "per_user":
        wanted = np.union1d(wanted, train_users)
        history_rows = part != TARGET
    else:
        history_rows = part == GIVEN
    place = np.full(len(users), -1, np.int64)
    place[wanted] = np.arange(len(wanted))
    history_rows &= place[user] >= 0

    h_user, h_item = _last_of_each(place[user[history_rows]], item[history_rows], times[history_rows])
    t_keys = np.unique(place[user[part == TARGET]] * width + item[part == TARGET])
    seen = np.isin(t_keys, h_user * width + h_item)
    repeated = int(seen.sum())
    t_keys = t_keys[~seen]
    targets = Lists.from_pairs(t_keys // width, (t_keys % width).astype(np.int32), len(wanted))
    histories = Lists.from_pairs(h_user, h_item, len(wanted))

    evaluated = np.flatnonzero(targets.lengths() > 0)
    histories, targets = _picked(histories, evaluated), _picked(targets, evaluated)
    known = np.bincount(train.indices, minlength=width) > 0
    counts = Counts(
        protocol=protocol,
        train_rows=int(in_train.sum()),
        holdout_rows=int((~in_train).sum()),
        train_users=len(train_users),
        train_items=int(known.sum()),
        users_evaluated=len(evaluated),
        users_empty_holdout=len(wanted) - len(evaluated),
        users_without_history=int((histories.lengths() == 0).sum()),
        users_also_in_train=int(np.isin(wanted[evaluated], train_users).sum()),
        targets=len(targets.items),
        targets_unknown_to_train=int((~known[targets.items]).sum()),
        targets_in_history=repeated,
        zero_weight=read - len(user),
    )
    return Dataset(items, users.take(pa.array(wanted[evaluated])), train, histories, targets, counts)


def _encoded(ids: pa.Array) -> pa.DictionaryArray:
    return ids if pa.types.is_dictionary(ids.type) else ids.dictionary_encode()


def _rows(
    blocks: Iterable[pa.RecordBatch],
) -> tuple[
    pa.StringArray,
    npt.NDArray[np.int64],
    pa.StringArray,
    npt.NDArray[np.int32],
    npt.NDArray[np.int64],
    npt.NDArray[np.bool_],
    npt.NDArray[np.int8],
]:
    table = pa.Table.from_batches(blocks, SCHEMA).unify_dictionaries().combine_chunks()
    users, user = _sorted_codes(table.column("user_id").combine_chunks())
    items, item = _sorted_codes(table.column("item_id").combine_chunks())
    times = table.column("timestamp").to_numpy()
    weightless = table.column("weightless").to_numpy()
    return users, user.astype(np.int64), items, item, times, weightless, table.column("part").to_numpy()


def _sorted_codes(ids: pa.Array) -> tuple[pa.StringArray, npt.NDArray[np.int32]]:
    """Return the distinct ids in UTF-8 byte order, and each row's index among them."""
    if isinstance(ids, pa.ChunkedArray):
        ids = ids.chunk(0) if ids.num_chunks else pa.array([], pa.dictionary(pa.int32(), pa.string()))
    order = pc.array_sort_indices(ids.dictionary).to_numpy()
    index = np.empty(len(order), np.int32)
    index[order] = np.arange(len(order), dtype=np.int32)
    codes = index[ids.indices.to_numpy()]
    used = np.zeros(len(order), np.bool_)  # a dictionary may hold ids that no row of this block has
    used[codes] = True
    renumbered = np.cumsum(used, dtype=np.int32) - 1
    return ids.dictionary.take(pa.array(order[used])), renumbered[codes].astype(np.int32)


def _matrix(
    user: npt.NDArray[np.int64], item: npt.NDArray[np.int32], width: int
) -> tuple[sp.csr_array, npt.NDArray[np.int64]]:
    users, row = np.unique(user, return_inverse=True)
    keys = np.unique(row * width + item)
    pairs = Lists.from_pairs(keys // width, (keys % width).astype(np.int32), len(users))
    return pairs.matrix(width), users


def _last_of_each(
    user: npt.NDArray[np.int64], item: npt.NDArray[np.int32], times: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Return distinct (user, item) pairs at their last time, sorted by user, time, item."""
    order = np.lexsort((times, item, user))
    user, item, times = user[order], item[order], times[order]
    last = np.ones(len(user), np.bool_)
    last[:-1] = (user[1:] != user[:-1]) | (item[1:] != item[:-1])
    user, item, times = user[last], item[last], times[last]
    order = np.lexsort((item, times, user))
    return user[order], item[order]


def _picked(lists: Lists, rows: npt.NDArray[np.int64]) -> Lists:
    mask = np.zeros(len(lists), np.bool_)
    mask[rows] = True
    lengths = lists.lengths()
    return Lists(
        np.concatenate([[0], np.cumsum(lengths[rows])]).astype(np.int64), lists.items[np.repeat(mask, lengths)]
    )
