"""Write the input of a replay's bounded run.

The input consists of the decisions of a time range, all rewards, and the dead letters that can count now. All rewards
are included, because their own time does not tell which decision they belong to. A decision belongs to the range by its
decided_at. A line whose decided_at cannot be read is left out and counted.
"""

from __future__ import annotations

import dataclasses
import os
import posixpath
from collections.abc import Iterable, Sequence

from pipelines.reward_stream.sources.logs import lines_of, record_of
from serving_client.contracts.times import parse_time
from transforms.dead_letters import DeadLetter
from transforms.files import storage

__all__ = ["Kept", "TimeRange", "write_decisions", "write_letters", "write_rewards"]


@dataclasses.dataclass(frozen=True, slots=True)
class TimeRange:
    """Hold the range from_us <= decided_at < to_us. None sets no bound."""

    from_us: int | None = None
    to_us: int | None = None

    @property
    def is_all(self) -> bool:
        """Return whether the range has no bounds."""
        return self.from_us is None and self.to_us is None

    def __contains__(self, at_us: int) -> bool:
        return (self.from_us is None or at_us >= self.from_us) and (self.to_us is None or at_us < self.to_us)


@dataclasses.dataclass(slots=True)
class Kept:
    """Count the decisions inside and outside the range, and the lines whose decided_at cannot be read."""

    inside: int = 0
    outside: int = 0
    unreadable: int = 0


def write_decisions(files: Sequence[str], folder: str, time_range: TimeRange) -> Kept:
    """Write the decisions of the range, one file per log. The file names keep the order.

    Args:
        files: The decision logs.
        folder: Where to write.
        time_range: The range.

    Returns:
        The counts.
    """
    storage.make_folder(folder)
    kept = Kept()
    for number, uri in enumerate(files):
        with open(os.path.join(folder, f"{number:06d}.jsonl"), "wb") as out:
            for line in lines_of(uri):
                if _is_inside(line, time_range, kept):
                    out.write(line + b"\n")
    return kept


def write_rewards(files: Sequence[str], folder: str) -> None:
    """Provide all rewards: link local logs and copy others. The file names keep the order and the compression."""
    storage.make_folder(folder)
    for number, uri in enumerate(files):
        place = os.path.join(folder, f"{number:06d}-{posixpath.basename(uri)}")
        if storage.is_local(uri):
            os.symlink(os.path.abspath(uri), place)
        else:
            storage.copy_file(uri, place)


def write_letters(letters: Iterable[DeadLetter], path: str, time_range: TimeRange | None = None) -> int:
    """Write the originals of dead letters as a log that appears by rename. Write no file if there are none.

    Args:
        letters: The dead letters.
        path: Where to write.
        time_range: Range of decided_at, for decisions. None writes all.

    Returns:
        How many were written.
    """
    kept = Kept()
    lines = [
        letter.original for letter in letters if time_range is None or _is_inside(letter.original, time_range, kept)
    ]
    if lines:
        with storage.write_whole(path) as out:
            out.write(b"".join(line + b"\n" for line in lines))
    return len(lines)


def _is_inside(line: bytes, time_range: TimeRange, kept: Kept) -> bool:
    if time_range.is_all:
        kept.inside += 1
        return True
    record = record_of(line)
    try:
        inside = parse_time(record["decided_at"]) in time_range if record is not None else None
    except (KeyError, TypeError, ValueError):
        inside = None
    if inside is None:
        kept.unreadable += 1
    elif inside:
        kept.inside += 1
    else:
        kept.outside += 1
    return bool(inside)
