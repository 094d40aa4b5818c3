"""Store the records that could not be used, each with its place, the reason and the original bytes.

With these a person can correct the record, and a program can replay it. The readers of the records decide which
records are bad.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import posixpath
import re
from collections.abc import Iterable, Iterator

import apache_beam as beam
from apache_beam.pvalue import PCollection

from transforms.files import storage

__all__ = ["DeadLetter", "WriteDeadLetters", "file_name", "from_json_line", "to_json_line", "write_file"]


@dataclasses.dataclass(frozen=True, order=True)
class DeadLetter:
    """One rejected record.

    Attributes:
        source: URI of the file, or name of the topic or subscription.
        position: 1-based line (text) or row (Parquet), or offset (topic).
        reason: Why the record was rejected, in one phrase.
        original: The record's bytes without the line end.
    """

    source: str
    position: int
    reason: str
    original: bytes


def to_json_line(letter: DeadLetter) -> str:
    """Encode a dead letter as one line of JSON. If the record is not UTF-8, `original_base64` replaces `original`."""
    fields: dict[str, str | int] = {"source": letter.source, "position": letter.position, "reason": letter.reason}
    try:
        fields["original"] = letter.original.decode("utf-8")
    except UnicodeDecodeError:
        fields["original_base64"] = base64.b64encode(letter.original).decode("ascii")
    return json.dumps(fields, ensure_ascii=False)


def from_json_line(line: str) -> DeadLetter:
    """Decode a dead letter that `to_json_line` wrote."""
    fields = json.loads(line)
    if "original" in fields:
        original = fields["original"].encode("utf-8")
    else:
        original = base64.b64decode(fields["original_base64"], validate=True)
    return DeadLetter(fields["source"], fields["position"], fields["reason"], original)


@dataclasses.dataclass
class WriteDeadLetters(beam.PTransform[PCollection[DeadLetter], PCollection[str]]):
    """Write dead letters as JSON lines, one file per source, and return the paths.

    File names depend only on the source's URI, and lines are sorted. So a retry or another runner writes the same
    bytes. Each file appears by rename. Without dead letters nothing is written, and the folder is not created.

    Args:
        output_dir: Folder to write to.
    """

    output_dir: str

    def __post_init__(self) -> None:
        if not self.output_dir:
            raise ValueError("output_dir is empty; pass the folder for dead letters")

    def expand(self, letters: PCollection[DeadLetter]) -> PCollection[str]:
        """Group the dead letters by source and write one file per source."""
        by_source = letters | "KeyBySource" >> beam.Map(_key_by_source)
        grouped = by_source | "GroupBySource" >> beam.GroupByKey()
        paths: PCollection[str] = grouped | "WriteFiles" >> beam.Map(write_file, self.output_dir)
        return paths


def write_file(letters: tuple[str, Iterable[tuple[int, str, bytes]]], output_dir: str) -> str:
    """Write the dead letters of one source, sorted, to a file under `output_dir`, and return its path."""
    source, records = letters
    path = storage.join(output_dir, file_name(source))
    with storage.write_whole(path) as out:
        for line in _lines(source, records):
            out.write(line)
    return path


def file_name(source: str) -> str:
    """Return a file name with a readable start and a unique end: `part-003.csv-1f0c9a2b4d5e6f70.jsonl`."""
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", posixpath.basename(source.rstrip("/"))).lstrip("._")[:80] or "source"
    return f"{stem}-{hashlib.sha256(source.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}.jsonl"


def _key_by_source(letter: DeadLetter) -> tuple[str, tuple[int, str, bytes]]:
    return letter.source, (letter.position, letter.reason, letter.original)


def _lines(source: str, records: Iterable[tuple[int, str, bytes]]) -> Iterator[bytes]:
    for position, reason, original in sorted(records):
        yield to_json_line(DeadLetter(source, position, reason, original)).encode("utf-8", "surrogateescape") + b"\n"
