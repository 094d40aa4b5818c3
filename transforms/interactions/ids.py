"""Check and encode ids: turn columns of users and items into distinct strings and indices.

An id is UTF-8 text of 1 to 1,024 bytes without NUL, CR and LF, or an integer, which is written in decimal. Nothing is
trimmed or inferred. Only distinct values are checked, so a column costs one dictionary encoding.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.interactions.files import FileFault

__all__ = ["MAX_ID_BYTES", "EncodedIds", "encode_ids", "id_fault"]

MAX_ID_BYTES = 1024
CONTROL = re.compile(rb"[\x00\r\n]")


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedIds:
    """A column of encoded ids.

    Attributes:
        values: Distinct ids as strings. Bytes if `bad` marks rows whose value is not UTF-8.
        indices: Position of each row's id in `values`, int32 [rows]. 0 in rows that `bad` marks.
        bad: Rows without a valid id, bool [rows]. None if every row has one.
    """

    values: pa.Array
    indices: npt.NDArray[np.int32]
    bad: npt.NDArray[np.bool_] | None

    def select(self, keep: npt.NDArray[np.bool_] | None) -> pa.DictionaryArray:
        """Return the rows to keep (None: all) as dictionary<int32, string> whose values are distinct and all used."""
        indices = self.indices if keep is None else self.indices[keep]
        used = np.zeros(len(self.values), np.bool_)
        used[indices] = True
        values = self.values
        if not used.all():
            values = values.filter(pa.array(used))
            indices = (np.cumsum(used, dtype=np.int32) - np.int32(1))[indices]
        return pa.DictionaryArray.from_arrays(pa.array(indices), values.cast(pa.string()), safe=False)


def encode_ids(column: pa.Array, name: str) -> EncodedIds:
    """Encode a column and find the rows without a valid id.

    Args:
        column: Strings, bytes or integers [rows], also dictionary-encoded.
        name: Name of the column, for the error message.

    Raises:
        FileFault: The column has another type.
    """
    kind = column.type
    if pa.types.is_null(kind):
        column = column.cast(pa.string())
    if not pa.types.is_dictionary(kind):
        column = _narrow(column, name).dictionary_encode()
    elif column.dictionary.null_count:
        return encode_ids(column.dictionary_decode(), name)
    values = _narrow(column.dictionary, name)
    bad = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
    indices = (pc.fill_null(column.indices, 0) if bad is not None else column.indices).to_numpy(zero_copy_only=False)
    indices = indices.astype(np.int32, copy=False)
    if pa.types.is_integer(values.type):
        return EncodedIds(values.cast(pa.string()), indices, bad)
    bad_values = _find_bad(values)
    if bad_values is not None and len(indices):
        bad = bad_values[indices] if bad is None else bad | bad_values[indices]
    return EncodedIds(values, indices, bad)


def id_fault(value: Any, name: str, quoted: str) -> str:
    """Explain why `encode_ids` rejected a value."""
    if value is None:
        return f"{name} is missing"
    encoded = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
    if not encoded:
        return f"{name} is empty"
    if len(encoded) > MAX_ID_BYTES:
        return f"{name} {quoted} is {len(encoded)} bytes long, more than {MAX_ID_BYTES}"
    if CONTROL.search(encoded):
        return f"{name} {quoted} contains NUL, CR or LF"
    return f"{name} {quoted} is not UTF-8"


def _narrow(values: pa.Array, name: str) -> pa.Array:
    """Return integers unchanged and text as binary with 32-bit offsets, which suffice for blocks far below 2 GiB."""
    kind = values.type
    if pa.types.is_integer(kind) or pa.types.is_binary(kind):
        return values
    if pa.types.is_string(kind):
        return values.view(pa.binary())
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return values.cast(pa.large_binary() if pa.types.is_large_string(kind) else pa.binary()).cast(pa.binary())
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return values.cast(pa.binary())
    raise FileFault(f"column {name} has type {kind}; ids are strings or integers")


def _find_bad(values: pa.Array) -> npt.NDArray[np.bool_] | None:
    """Return which of the distinct values (without null) are not ids. None if all are."""
    lengths = pc.binary_length(values).to_numpy(zero_copy_only=False)
    if len(lengths) == 0:
        return None
    bad = (lengths == 0) | (lengths > MAX_ID_BYTES)
    if _has_control(values):
        bad |= pc.match_substring_regex(values, r"[\x00\r\n]").to_numpy(zero_copy_only=False)
    if not _is_utf8(values):
        bad |= np.fromiter((not _decodes(value) for value in values.to_pylist()), np.bool_, len(values))
    return bad if bad.any() else None


def _has_control(values: pa.Array) -> bool:
    """Return whether the buffer holds a byte of 13 or less. The buffer may be larger than the slice."""
    data = values.buffers()[2]
    return data is not None and bool((np.frombuffer(data, np.uint8) <= 13).any())


def _is_utf8(values: pa.Array) -> bool:
    try:
        values.cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True


def _decodes(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
