"""Write the dead letters of a run: JSON lines below --dead_letters, one file per tick with dead letters.

A file appears whole and never changes. After a restart a letter may be in two files. Source and position identify it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from transforms.dead_letters import DeadLetter, to_json_line
from transforms.files import storage

__all__ = ["write_letters"]


def write_letters(folder: str, run_id: str, tick: int, letters: Sequence[DeadLetter]) -> None:
    """Write dead letters, sorted. Writing the same letters again writes the same file.

    Args:
        folder: Folder of the dead letters.
        run_id: Name of the run.
        tick: Number of the tick. Negative in a bounded run, whose file name depends on the letters alone.
        letters: The dead letters.
    """
    lines = [to_json_line(letter).encode("utf-8", "surrogateescape") + b"\n" for letter in sorted(letters)]
    digest = hashlib.sha256(b"".join(lines)).hexdigest()[:16]
    name = f"bounded-{digest}.jsonl" if tick < 0 else f"{run_id}-{tick:010d}-{digest}.jsonl"
    place = storage.join(folder, name)
    with storage.write_whole(place) as file:
        for line in lines:
            file.write(line)
