"""Where dead letters of a run are kept: JSON lines below --dead_letters, a file per tick that had any.

A file appears whole and is never changed. After a restart a letter may be in two; its id is source and position.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from transforms.dead_letters import DeadLetter, to_json_line
from transforms.files import storage

__all__ = ["write_letters"]


def write_letters(folder: str, run_id: str, tick: int, letters: Sequence[DeadLetter]) -> None:
    """Write letters, sorted. tick: negative in a bounded run, whose file depends on the letters alone.

    The same letters again are the same file again.
    """
    lines = [to_json_line(letter).encode("utf-8", "surrogateescape") + b"\n" for letter in sorted(letters)]
    digest = hashlib.sha256(b"".join(lines)).hexdigest()[:16]
    name = f"bounded-{digest}.jsonl" if tick < 0 else f"{run_id}-{tick:010d}-{digest}.jsonl"
    place = storage.join(folder, name)
    with storage.write_whole(place) as file:
        for line in lines:
            file.write(line)
