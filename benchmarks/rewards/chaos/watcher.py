"""A reader that never rests: polls the pointers, reads what they name, and notes whatever a reader must never see.

    python -m benchmarks.rewards.chaos.watcher DEST FINDINGS MAY_FALL NAME [NAME…]

follows the documented protocol alone (LATEST, then the version that it names, its digest checked) and shares no code
with the pipeline. Writes JSON lines: every version seen, and every fault. Ends when its standard input does.
"""

from __future__ import annotations

import collections
import datetime
import hashlib
import json
import pathlib
import select
import sys
import time
from collections.abc import Callable
from typing import Any

import jsonschema

__all__ = ["FAULTS", "Reader", "main"]

SCHEMAS = pathlib.Path(__file__).resolve().parents[3] / "serving_client" / "contracts" / "schemas"
PAUSE_S = 0.01

FAULTS = ("half", "invalid", "version fell", "watermark fell", "n fell", "vanished")
"""half: JSON or digest do not fit. invalid: not as the schema says. vanished: it is not there, and no sink refuses."""

Note = dict[str, Any]


class Reader:
    """One bandit's, or `_stream`'s, reader. note: takes what was seen. falls: whether n of a row may fall."""

    def __init__(self, place: pathlib.Path, note: Callable[[Note], None], *, falls: bool) -> None:
        self._place, self._note, self._falls = place, note, falls
        schema = "stream_snapshot" if place.name == "_stream" else "snapshot"
        self._pointers, self._documents = _validator("latest"), _validator(schema)
        self._pointer, self._version, self._watermark = b"", 0, ""
        self._counts: dict[tuple[str, str, int], int] = {}

    def poll(self) -> str:
        """Look once; returns what came of it: nothing, same, read, refused, again or a fault."""
        try:
            pointer = (self._place / "LATEST").read_bytes()
            if pointer == self._pointer:
                return "same"
            latest = json.loads(pointer)
            data = (self._place / f"{latest['version']}.json").read_bytes()
        except NotADirectoryError:  # the sink refuses
            return "refused"
        except FileNotFoundError as error:
            return "nothing" if not self._version else self._fault("vanished", str(error))
        except (ValueError, KeyError, TypeError) as error:
            return self._fault("half", f"LATEST: {error}")
        if hashlib.sha256(data).hexdigest() != latest["sha256"]:
            return self._fault("half", f"version {latest['version']}: digest")
        try:
            document = json.loads(data)
        except ValueError as error:
            return self._fault("half", f"version {latest['version']}: {error}")
        self._pointer = pointer
        return self._take(latest, document)

    def _take(self, latest: Note, document: Note) -> str:
        for validator, value in ((self._pointers, latest), (self._documents, document)):
            for error in validator.iter_errors(value):
                self._fault("invalid", f"version {latest['version']}: {error.json_path}: {error.message[:200]}")
        version, watermark = document["version"], document["watermark"] or ""
        if version <= self._version or version != latest["version"]:
            self._fault("version fell", f"{self._version}, then {version} (LATEST: {latest['version']})")
        if watermark < self._watermark:  # of one width, so that text compares as time does
            self._fault("watermark fell", f"version {self._version}: {self._watermark}, {version}: {watermark}")
        counts = {(row["segment"], row["arm_id"], row["arm_generation"]): row["n"] for row in document.get("arms", ())}
        fallen = {key: (n, counts.get(key, 0)) for key, n in self._counts.items() if counts.get(key, 0) < n}
        if fallen and not self._falls:
            self._fault("n fell", f"version {self._version} to {version}: {sorted(fallen.items())[:3]}")
        self._version, self._watermark, self._counts = version, watermark, counts
        total = sum(n for (segment, _, _), n in counts.items() if segment == "*")
        self._note(
            {"kind": "version", "name": self._place.name, "version": version, "n": total, "final": document["final"],
             "watermark": watermark, "published_at": _seconds(document["published_at"]), "fell": bool(fallen)}
        )  # fmt: skip
        return "read"

    def _fault(self, kind: str, what: str) -> str:
        self._note({"kind": kind, "name": self._place.name, "what": what})
        return kind


def main(arguments: list[str]) -> int:
    """Watch until standard input ends; the last line has how often what came of a poll."""
    dest, findings, may_fall, *names = arguments
    polls: collections.Counter[str] = collections.Counter()
    with open(findings, "a", buffering=1) as out:

        def note(found: Note) -> None:
            out.write(json.dumps({"at": time.time(), **found}) + "\n")

        readers = [Reader(pathlib.Path(dest, name), note, falls=name == may_fall) for name in names]
        note({"kind": "began"})
        while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
            polls.update(reader.poll() for reader in readers)
        polls.update(reader.poll() for reader in readers)
        note({"kind": "ended", "polls": polls})
    return 0


def _seconds(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()


def _validator(name: str) -> Any:
    return jsonschema.Draft202012Validator(json.loads((SCHEMAS / f"{name}.json").read_text()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
