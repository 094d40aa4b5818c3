"""Where the fields of many lines of JSON lie, and which lines are usual: good records whose rank orjson may compute.

A usual line is an object with all required fields, none of a wrong type, no known field twice, no escape in a known
field, and only numbers that orjson writes as `canonical_json` does. The others, good or not, are the plain rule's
(`lines.read_line`). What is said here holds for lines that are valid JSON, which orjson finds out at less cost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from transforms.attribution.parsing import fields as known
from transforms.attribution.parsing import walk
from transforms.attribution.parsing.fields import Field

__all__ = ["Scan", "scan"]

_WANTS = {
    known.ID: walk.ID,
    known.TEXT: walk.TEXT,
    known.TIME: walk.TEXT,  # which moment it names is `spans.times_us`'s business
    known.INTEGER: walk.INTEGER,
    known.NUMBER: walk.NUMBER,
    known.PROBABILITY: walk.PROBABILITY,
    known.VALUE: walk.NUMBER,  # how many decimals it has is `spans.micro_units`'s business
    known.VERSION: walk.VERSION,
    known.BOOLEAN: walk.BOOLEAN,
    known.OBJECT: walk.OBJECT,
    known.NUMBERS: walk.NUMBERS,
    known.FEATURES: walk.FEATURES,
    known.IDS: walk.IDS,
}


@dataclasses.dataclass(slots=True, eq=False)
class Scan:
    """usual: bool [lines]. begin, end: int32 [kept fields, lines], where a value lies; begin is -1 where it is absent.

    Strings are without their quotes. In a line that is not usual the places mean nothing, but lie inside the data.
    """

    usual: npt.NDArray[np.bool_]
    begin: npt.NDArray[np.int32]
    end: npt.NDArray[np.int32]


def scan(
    data: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    fields: Sequence[Field],
    kept: Sequence[str],
) -> Scan:
    """uint8 [bytes], lines from starts to ends int64 [lines] -> which are usual, and where the `kept` fields lie.

    Raises ValueError for 2 GiB or more.
    """
    if len(data) >= 1 << 31:
        raise ValueError(f"scan takes less than 2 GiB at once, got {len(data):,} bytes; pass fewer lines")
    names = [field.name.encode() for field in fields]
    letters = np.frombuffer(b"".join(names), np.uint8)
    name_ends = np.cumsum([0, *map(len, names)])
    slots = np.array([kept.index(field.name) if field.name in kept else -1 for field in fields])
    wants = np.array([_WANTS[field.kind] for field in fields])
    required = sum(1 << at for at, field in enumerate(fields) if field.required)
    shape = len(kept), len(starts)
    found = Scan(np.zeros(len(starts), np.bool_), np.full(shape, -1, np.int32), np.full(shape, -1, np.int32))
    walk.walk(data, starts, ends, letters, name_ends, wants, slots, required, found.usual, found.begin, found.end)
    return found
