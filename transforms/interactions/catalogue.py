"""Read a catalogue of items: titles, availability and any further columns.

A catalogue is small, so the main process reads it whole. Titles in CSV may hold line feeds within quotes. The catalogue
does not say whether an item has interactions.
"""

from __future__ import annotations

import dataclasses
from typing import Any, BinaryIO

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from transforms.dead_letters import DeadLetter
from transforms.errors import BadInput, BadUsage
from transforms.interactions.columns import (
    CATALOGUE_ITEM,
    CATALOGUE_TITLE,
    AmbiguousColumns,
    Role,
    candidates,
    find_column,
    require_column,
)
from transforms.interactions.files import FileFault, describe, match, open_binary, open_text, sniff
from transforms.interactions.ids import encode_ids, id_fault
from transforms.interactions.validate import quote

__all__ = ["Catalogue", "read_items"]

_AVAILABLE = Role("availability", "", "available")
TRUE_TEXTS = frozenset({"true", "t", "yes", "y", "1"})
FALSE_TEXTS = frozenset({"false", "f", "no", "n", "0"})


@dataclasses.dataclass(frozen=True, eq=False)
class Catalogue:
    """The items of one or more files, in file order.

    Attributes:
        table: item_id (string, distinct), title (string, the id if an item has no title), available (bool, true if the
            file does not say), then the further columns as read (strings from CSV).
        duplicates: How many rows repeat an id. The first row of an id counts.
        rejected: Rows without a usable id.
        id_column: Name of the column with the ids in the first file.
        title_column: Name of the column with the titles in the first file, None if it has none.
    """

    table: pa.Table
    duplicates: int
    rejected: tuple[DeadLetter, ...]
    id_column: str
    title_column: str | None

    def titles(self) -> dict[str, str]:
        """Return the title of each item id."""
        return dict(zip(self.table["item_id"].to_pylist(), self.table["title"].to_pylist(), strict=True))

    def count_found(self, item_ids: pa.Array | pa.ChunkedArray) -> int:
        """Return how many of the distinct ids the catalogue has."""
        return int(pc.sum(pc.is_in(item_ids, value_set=self.table["item_id"])).as_py() or 0)

    def explain_mismatch(self, item_ids: pa.Array | pa.ChunkedArray) -> str:
        """Return a sentence about a log that shares no item with the catalogue, with an example of each side.

        Args:
            item_ids: Ids of the log, at least one. The example is a pair that looks alike, such as 7 and 007, if there
                is one.
        """
        ours, theirs = item_ids.to_pylist(), self.table["item_id"].to_pylist()
        alike = {_plain_id(each): each for each in reversed(theirs)}
        mine = next((each for each in ours if _plain_id(each) in alike), ours[0])
        example = alike.get(_plain_id(mine), theirs[0] if theirs else None)
        other = "is empty" if example is None else f"has {quote(example)}"
        return (
            f"no item of the log is in --items, so titles and availability have no effect: the log has {quote(mine)}, "
            f"the catalogue {other}; write the ids alike, or pass --items_id_column"
        )


def read_items(
    uri: str,
    *,
    id_column: str | None = None,
    title_column: str | None = None,
    csv_delimiter: str = ",",
    null_text: str = r"\N",
) -> Catalogue:
    """Read a catalogue: CSV with a header, Parquet or JSON lines. Text may be gzipped.

    Args:
        uri: A file, a folder or a glob. All files of a folder are read.
        id_column: Column with the item's id. None finds it by its name (see `columns`). All files use one name.
        title_column: Column with the title. None finds it by its name, and a file may lack it.
        csv_delimiter: One ASCII character.
        null_text: Text of an unquoted CSV value that is missing. Empty if no text means that.

    Raises:
        BadInput: A file cannot be read, lacks a column, or holds an `available` value that is neither true nor false.
        BadUsage: Two columns could have one role, so a flag must decide.
    """
    tables, rejected = [], []
    chosen: tuple[str, str | None] | None = None
    for file in match([uri]):
        try:
            with open_binary(file.uri) as stream:
                table = _read_table(stream, csv_delimiter, null_text)
            columns = _find_columns(table.column_names, chosen[0] if chosen else id_column, title_column)
            table, letters = _normalise(table, file.uri, *columns)
        except AmbiguousColumns as fault:
            raise BadUsage(f"{file.uri}: {fault}") from fault
        except FileFault as fault:
            raise BadInput(f"{file.uri}: {fault}") from fault
        except Exception as error:  # errors of Arrow, of the filesystem, or of an object store's client
            raise BadInput(f"{file.uri}: cannot be read ({describe(error)}); is the file complete?") from error
        chosen = chosen or columns
        tables.append(table)
        rejected += letters
    assert chosen is not None, "match() finds at least one file"
    try:
        table = pa.concat_tables(tables, promote_options="default").combine_chunks()
    except pa.ArrowInvalid as error:
        raise BadInput(f"{uri}: its files differ in columns ({describe(error)}); pass files of one kind") from error
    first = _first_rows(table["item_id"])
    return Catalogue(table.take(pa.array(first)), len(table) - len(first), tuple(rejected), *chosen)


def _find_columns(present: list[str], id_column: str | None, title_column: str | None) -> tuple[str, str | None]:
    """Return the columns of ids and titles, the latter None if the file has none."""
    item = find_column(present, CATALOGUE_ITEM, id_column)
    name = item or require_column(present, CATALOGUE_ITEM.standard, CATALOGUE_ITEM.flag)
    if present.count(name) > 1:
        raise FileFault(f"has column {name} {present.count(name)} times; keep one of them")
    return name, find_column(present, CATALOGUE_TITLE, title_column, (name,))


def _plain_id(text: str) -> str:
    """Return an id without what often differs between exports: blanks, case, leading zeros and a decimal zero."""
    return text.strip().lower().removesuffix(".0").lstrip("0")


def _read_table(stream: BinaryIO, csv_delimiter: str, null_text: str) -> pa.Table:
    found = sniff(stream)
    if found.kind is None:
        raise FileFault("is empty; pass a catalogue with a header line")
    if found.kind == "parquet":
        return pyarrow.parquet.read_table(pa.py_buffer(_read_all(stream)))
    with open_text(stream, found.gzipped) as text:
        data = text.read()
    if found.kind == "jsonl":
        return _read_json(data)
    header = pyarrow.csv.open_csv(
        pa.py_buffer(data), parse_options=pyarrow.csv.ParseOptions(delimiter=csv_delimiter, newlines_in_values=True)
    ).schema.names
    return pyarrow.csv.read_csv(
        pa.py_buffer(data),
        read_options=pyarrow.csv.ReadOptions(use_threads=False),
        parse_options=pyarrow.csv.ParseOptions(delimiter=csv_delimiter, newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()),
            null_values=[null_text],
            strings_can_be_null=bool(null_text),
            quoted_strings_can_be_null=False,
        ),
    )


def _read_all(stream: BinaryIO) -> bytes:
    stream.seek(0)
    return stream.read()


def _read_json(data: bytes) -> pa.Table:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append(orjson.loads(line))
        except orjson.JSONDecodeError as error:
            raise FileFault(f"line {number} is not JSON ({error.msg}); correct it") from error
        if not isinstance(rows[-1], dict):
            raise FileFault(f"line {number} is not a JSON object; correct it")
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: _json_column([row.get(name) for row in rows]) for name in names})


def _json_column(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):  # mixed types
        return pa.array(
            [v if v is None or isinstance(v, str) else orjson.dumps(v).decode() for v in values], pa.string()
        )


def _normalise(
    table: pa.Table, source: str, id_column: str, title_column: str | None
) -> tuple[pa.Table, list[DeadLetter]]:
    """Put item_id, title and available first and the other columns behind them. Reject rows without a usable id."""
    ids = encode_ids(table[id_column].combine_chunks(), id_column)
    rejected = []
    if ids.bad is not None and ids.bad.any():
        rejected = [_reject(table, source, int(row), id_column) for row in np.flatnonzero(ids.bad)]
        table = table.filter(pa.array(~ids.bad))
    keep = None if ids.bad is None else ~ids.bad
    item_id = ids.select(keep).dictionary_decode()
    columns: dict[str, pa.Array] = {
        "item_id": item_id,
        "title": _titles(table, title_column, item_id),
        "available": _available(table),
    }
    names = table.column_names
    for name in names:
        if name not in (id_column, title_column, *columns) and names.count(name) == 1:
            columns[name] = table[name]
    return pa.table(columns), rejected


def _reject(table: pa.Table, source: str, row: int, id_column: str) -> DeadLetter:
    fields = {name: table[name][row].as_py() for name in dict.fromkeys(table.column_names)}
    value = fields[id_column]
    original = orjson.dumps(fields, default=str, option=orjson.OPT_SORT_KEYS)
    return DeadLetter(source, row + 1, id_fault(value, id_column, quote(value)), original)


def _titles(table: pa.Table, title_column: str | None, item_id: pa.Array) -> pa.Array:
    if title_column is None:
        return item_id
    titles = table[title_column].combine_chunks().cast(pa.string())
    missing = pc.fill_null(pc.equal(titles, ""), True)
    return pc.if_else(missing, item_id, titles)


def _available(table: pa.Table) -> pa.Array:
    """Return which items may be recommended. The column is found as other columns are, so it can be `Available`."""
    found = candidates(table.column_names, _AVAILABLE)
    if not found:
        return pa.array(np.ones(len(table), np.bool_))
    name = "available" if "available" in found else found[0]
    return pa.array([_parse_available(value) for value in table[name].to_pylist()], pa.bool_())


def _parse_available(value: Any) -> bool:
    text = "" if value is None else str(value).strip().lower().removesuffix(".0")
    if text in TRUE_TEXTS or not text:
        return True
    if text in FALSE_TEXTS:
        return False
    raise FileFault(f"available {quote(value)} is neither true nor false; correct it")


def _first_rows(ids: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the row of each distinct id's first appearance, ascending."""
    encoded = ids.combine_chunks().dictionary_encode()
    return np.unique(encoded.indices.to_numpy(), return_index=True)[1]
