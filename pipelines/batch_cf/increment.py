"""Store a run's interactions by user shard and its pair sums, so that a later run need only add new interactions.

A later run merges the stored interactions with the new ones. A user with a new interaction is touched. For each touched
user the run adds the sums of the new history and subtracts the sums of the old one. Adding new x new + old x new would
be wrong where an event changes a weight on old pairs, or pushes an item out under a cap. New items change the numbers
of all items, so stored sums are renumbered when they are read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.batch_cf.options import CfSettings
from pipelines.batch_cf.plan import BLOCK_ITEMS, Plan, block_bounds, blocks_of
from pipelines.batch_cf.sums import PairSums, slice_rows
from transforms.errors import BadInput, BadUsage
from transforms.files import storage
from transforms.interactions.columns import Columns
from transforms.interactions.files import InputFile
from transforms.runs.run import Run
from transforms.runs.run_folder import is_complete
from transforms.runs.run_record import Artifact, describe_inputs

__all__ = [
    "FOLDER",
    "Base",
    "base_notes",
    "description",
    "items_table",
    "new_files",
    "open_base",
    "read_sums",
    "read_table",
    "shapes",
    "sums_table",
]

FOLDER = "increment"


@dataclasses.dataclass(frozen=True)
class Base:
    """An earlier run's increment.

    Args:
        files: Its stored interactions.
        exponent: The unit of its sums. None means that pairs are counted.
        sums_files: Its pair sums, empty if they cannot be used.
        recompute: Why its sums cannot be used and all pairs are summed again, as one phrase, or None.
    """

    folder: str
    files: tuple[InputFile, ...]
    sums_files: tuple[str, ...]
    exponent: int | None
    recompute: str | None

    def why_not(self, plan: Plan, exponent: int | None, per_user: bool) -> str | None:
        """Return why the base's sums cannot be used in this run, or None if they can.

        Args:
            plan: The numbering of this run's items.
            exponent: This run sums in units of 2^-exponent.
            per_user: Whether a user's share in a pair depends on the user's other items (a cap, or users weighed by
                degree). The share that the base added for a removed item is then unknown.

        Returns:
            A phrase for the user, or None.
        """
        if self.recompute is not None:
            return self.recompute
        if exponent != self.exponent:
            return "the largest weights changed, so the sums need other units"
        items = read_table(storage.join(self.folder, "items.parquet"))
        number = pc.index_in(items["item_id"].combine_chunks(), value_set=plan.items)
        if per_user and number.null_count:
            return f"{number.null_count} items of the base are not in this run"
        known = number.is_valid().to_numpy(zero_copy_only=False)
        scales = items["scale"].to_numpy()[known]
        if exponent is not None and (scales != plan.item_exponents[number.drop_null().to_numpy()]).any():
            return "an item's largest weight moved it to another scale"
        return None


def description(settings: CfSettings) -> dict[str, Any]:
    """Return the options that shape what an increment stores: its interactions (stored_by) and sums (summed_by)."""
    options, rules = settings.run.options, settings.rules
    return {
        "stored_by": {
            "--dedupe": options["dedupe"],
            "--half_life": options["half_life"] if options["dedupe"] in ("sum", "max") else None,
            "--min_weight": options["min_weight"],
            "--since": options["since"],
            "--until": options["until"],
        },
        "summed_by": {
            "--half_life": options["half_life"],
            "--min_item_users": rules.min_item_users,
            "--max_item_users": rules.max_item_users,
            "--similarity (counted or weighted)": rules.binary,
            "the weight of a user": settings.measure.user_exponent,
            "--min_user_items": rules.min_user_items,
            "--max_user_items": rules.max_user_items,
            "--max_items_per_user": rules.max_items_per_user,
            "--seed": rules.seed,
        },
    }


def shapes(settings: CfSettings) -> tuple[dict[str, Any], dict[str, Any], str | None]:
    """Return the arguments stored_by, summed_by and moves_all of `open_base`."""
    rules, described = settings.rules, description(settings)
    moves_all = None
    if rules.half_life_us is not None:
        moves_all = "--half_life moves the weight of every user"
    elif rules.min_item_users > 1 or rules.max_item_users is not None:
        moves_all = "--min_item_users and --max_item_users may move every history"
    return described["stored_by"], described["summed_by"], moves_all


def open_base(output: str, stored_by: dict[str, Any], summed_by: dict[str, Any], moves_all: str | None) -> Base:
    """Read the increment of the run in `output`.

    Args:
        output: Output folder of the earlier run.
        stored_by: The options that shaped its stored interactions. They must be equal.
        summed_by: The options that shaped its sums. If they differ, all pairs are summed again.
        moves_all: An option that changes every user, or None.

    Returns:
        The increment.

    Raises:
        BadUsage: There is no increment, it is incomplete, or its options differ.
    """
    folder = storage.join(output, FOLDER)
    if not is_complete(output):
        raise BadUsage(f"--base={output}: is not a complete output of batch_cf; name the --output of a finished run")
    description = storage.read_json(storage.join(folder, "increment.json"))
    if description is None:
        raise BadUsage(
            f"--base={output}: holds no increment; repeat that run with --keep_increment, or leave out --base"
        )
    for name, value in stored_by.items():
        if description["stored_by"].get(name) != value:
            raise BadUsage(
                f"--base={output}: was made with {name}={description['stored_by'].get(name)}, this run has "
                f"{name}={value}; pass the same value, or run over all interactions without --base"
            )
    differing = [name for name, value in summed_by.items() if description["summed_by"].get(name) != value]
    recompute = moves_all
    if recompute is None and differing:
        recompute = f"{differing[0]} differs from the base's"
    return Base(
        folder=folder,
        files=tuple(
            InputFile(uri, size) for uri, size in storage.list_files(storage.join(folder, "interactions")).items()
        ),
        sums_files=() if recompute else tuple(storage.list_files(storage.join(folder, "sums"))),
        exponent=description["exponent"],
        recompute=recompute,
    )


def new_files(run: Run, files: list[InputFile], base: str, columns: Columns) -> list[InputFile]:
    """Return the files that the base has not read, and add the inputs of the base and its run.json to the inputs.

    Raises:
        BadInput: Either the new files or those of the base have weights.
    """
    record_uri = storage.join(base, "run.json")
    record = storage.read_json(record_uri)
    record = record if isinstance(record, dict) else {}
    weight_of_base = record.get("options", {}).get("weight_column")
    if files and columns.known and record and bool(weight_of_base) != (columns.weight is not None):
        lacking, having = (files[0].uri, f"--base={base}") if weight_of_base else (f"--base={base}", files[0].uri)
        raise BadInput(f"{lacking}: has no weights but {having} has; pass --weight_column or files of one kind")
    of_base = [Artifact(**each) for each in record.get("inputs", [])]
    digests = {each.digest for each in of_base}
    known = {each.uri for each in run.inputs if each.digest in digests} & {file.uri for file in files}
    if known:
        more = f" and {len(known) - 1:,} more" if len(known) > 1 else ""
        run.warn(f"{min(known)}{more}: read by --base={base} already; the run leaves out files with the same content")
    run.inputs = [each for each in run.inputs if each.uri not in known] + of_base
    run.inputs += describe_inputs(storage.list_files(record_uri))
    return [file for file in files if file.uri not in known]


def base_notes(base: Base | None, facts: dict[str, Any]) -> list[str]:
    """Return the note that says whether the base's sums were used, none without a base."""
    if base is None:
        return []
    reason = facts["why_not"]
    return [f"recomputed in full: {reason}" if reason else f"added to the sums of {base.folder}"]


def read_table(uri: str) -> pa.Table:
    """Read a small Parquet file of any filesystem."""
    with storage.open_read(uri) as file:
        return pq.read_table(pa.BufferReader(file.read()))


def items_table(plan: Plan) -> pa.Table:
    """Return the items that a later run needs, in the order of their numbers: item_id and scale (exponent)."""
    return pa.table({"item_id": plan.items, "scale": plan.item_exponents})


def sums_table(part: PairSums) -> pa.Table:
    """Return pair sums as a table: item, neighbor (numbers of this run), users, sum.

    The column sum is absent where pairs are counted.
    """
    lengths = np.diff(part.row_ends, prepend=0)
    columns: dict[str, Any] = {
        "item": np.repeat(np.arange(len(lengths), dtype=np.uint32) + np.uint32(part.first_row), lengths),
        "neighbor": part.columns,
        "users": part.counts.astype(np.int64),
    }
    if part.sums is not None:
        columns["sum"] = part.sums
    return pa.table(columns)


def read_sums(uri: str, base: Base, plan: Plan) -> Iterator[tuple[int, PairSums]]:
    """Read a file of `sums_table` by block, renumbered for this run.

    Pairs of items that this run does not have are left out.
    """
    table = read_table(uri)
    old_items = read_table(storage.join(base.folder, "items.parquet"))["item_id"].combine_chunks()
    number = pc.fill_null(pc.index_in(old_items, value_set=plan.items), -1).to_numpy().astype(np.int64)
    rows, columns = number[table["item"].to_numpy()], number[table["neighbor"].to_numpy()]
    known = (rows >= 0) & (columns >= 0)
    rows, columns = rows[known], columns[known]
    if not len(rows):
        return
    # Old and new numbers follow the same order of ids, so rows are still ascending.
    first, last = int(rows[0]), int(rows[-1])
    part = PairSums(
        len(plan.items),
        first,
        np.cumsum(np.bincount(rows - first, minlength=last - first + 1)).astype(np.int64),
        columns.astype(np.uint32),
        table["users"].to_numpy()[known],
        table["sum"].to_numpy()[known] if "sum" in table.column_names else None,
    )
    for block in range(first // BLOCK_ITEMS, min(last // BLOCK_ITEMS + 1, blocks_of(len(plan.items)))):
        start, stop = block_bounds(block, len(plan.items))
        yield block, slice_rows(part, max(start, first), min(stop, last + 1))
