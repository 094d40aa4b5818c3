"""Find the files that an `--interactions` value names, open them, and detect their format.

Local paths use the standard library's glob. Addresses with a scheme (s3://, gs://) use Beam's FileSystems. The format
is detected from a file's first bytes and never from its name, because Athena writes names without an extension.
`parquet`, `csv` and `jsonl` parse the files.
"""

from __future__ import annotations

import codecs
import dataclasses
import fnmatch
import functools
import glob
import gzip
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, Literal, NamedTuple, cast

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from transforms.errors import BadInput
from transforms.files.walking import walk_once

__all__ = [
    "Content",
    "FileFault",
    "InputFile",
    "Kind",
    "Matched",
    "describe",
    "find",
    "match",
    "open_binary",
    "open_text",
    "sniff",
    "split_globs",
]

Kind = Literal["parquet", "csv", "jsonl"]

SNIFF_BYTES = 4096
# First bytes of files that people pass by mistake. The error names the format instead of a missing column.
FOREIGN = {
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"PK\x03\x04": "a zip archive",
    b"ORC": "an ORC file",
    b"Obj\x01": "an Avro file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}


class FileFault(Exception):
    """Why a whole file cannot be read, worded as the end of the sentence "FILE: ...". It never leaves a worker."""


@dataclasses.dataclass(frozen=True, order=True)
class InputFile:
    """A file to read, with its size. `uri` is written as the user would write it."""

    uri: str
    size_bytes: int


class Content(NamedTuple):
    """The format detected from a file's first bytes. `kind` is None if the file has only blanks or nothing."""

    kind: Kind | None
    gzipped: bool


class Matched(NamedTuple):
    """The files that patterns name.

    Args:
        files: Each file once, sorted by URI.
        repeated: URIs of files that more than one pattern or link names, sorted.
    """

    files: list[InputFile]
    repeated: list[str]


def split_globs(text: str) -> list[str]:
    """Split a comma-separated list of patterns. A comma within brackets is part of its pattern (`a[,]b.csv`)."""
    return [part for part in re.findall(r"(?:\[[^\]]*\]|[^,])+", text) if part.strip()]


def match(globs: Sequence[str], options: PipelineOptions | None = None) -> list[InputFile]:
    """Return the files of `find`, each once, sorted by URI."""
    return find(globs, options).files


def find(globs: Sequence[str], options: PipelineOptions | None = None, flag: str = "--interactions") -> Matched:
    """Find all files that the patterns match. A file with several names on disk is one file, by its first name.

    A folder matches every file below it, also in linked folders. A folder that links reach by several ways, or that
    contains a link to itself, is listed once. Names that start with _ or . (for example _SUCCESS) are skipped, unless
    the pattern spells out that part.

    Args:
        globs: Files, folders or globs, local or remote.
        options: Pipeline options with the credentials of object stores.
        flag: Flag whose value the patterns are, for the error.

    Raises:
        BadInput: A pattern matches no file, or cannot be listed.
    """
    if options is not None:
        FileSystems.set_options(options)
    found: dict[str, list[InputFile]] = {}
    for pattern in globs:
        try:
            listed = _match_remote(pattern) if "://" in pattern else _match_local(pattern)
            files = [file for file in listed if _is_meant(file.uri, pattern)]
        except Exception as error:  # the clients of object stores raise their own types
            raise BadInput(
                f"{pattern}: cannot be listed ({describe(error)}); check the name and credentials"
            ) from error
        if not files:
            raise BadInput(f"{pattern}: no such file, nor a folder with files; check {flag}")
        for file in set(files):
            found.setdefault(_identity(file.uri), []).append(file)
    names = [sorted(same) for same in found.values()]
    return Matched(sorted(same[0] for same in names), sorted(same[0].uri for same in names if len(same) > 1))


def describe(error: BaseException) -> str:
    """Describe a foreign error in one line: its type and the first line of its text."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:200]}" if text else type(error).__name__


def open_binary(uri: str) -> BinaryIO:
    """Open a file's stored bytes as a seekable stream, without decompressing them."""
    if "://" not in uri:
        return open(uri, "rb")
    return FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED)


def open_text(stream: BinaryIO, gzipped: bool) -> BinaryIO:
    """Return the text of a stream from its start, decompressed if `gzipped`, without a byte order mark."""
    stream.seek(0)
    text = cast(BinaryIO, gzip.GzipFile(fileobj=stream)) if gzipped else stream
    if text.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
        text.seek(0)
    return text


def sniff(stream: BinaryIO) -> Content:
    """Detect the format of a stream from its first 4 KiB.

    Raises:
        FileFault: The stream holds a format that is not supported.
    """
    stream.seek(0)
    head = stream.read(SNIFF_BYTES)
    gzipped = head.startswith(b"\x1f\x8b")
    if gzipped:
        head = open_text(stream, gzipped=True).read(SNIFF_BYTES)
    if head.startswith(b"PAR1"):
        if gzipped:
            raise FileFault("is Parquet inside gzip; decompress it (Parquet compresses its own columns)")
        return Content("parquet", False)
    for magic, what in FOREIGN.items():
        if head.startswith(magic):
            raise FileFault(f"is {what}; convert it to Parquet, CSV or JSON lines in UTF-8, gzipped or not")
    first = head.removeprefix(codecs.BOM_UTF8).lstrip(b" \t\r\n")[:1]
    return Content(("jsonl" if first == b"{" else "csv") if first else None, gzipped)


def _match_local(pattern: str) -> Iterator[InputFile]:
    for path in _expand(pattern):
        if os.path.isdir(path):
            files = [os.path.join(folder, name) for folder, names in _walk(path, pattern) for name in names]
        else:
            files = [path]
        for file in files:
            # A pattern such as **/*.csv begins in the working folder.
            uri = file if pattern.startswith(".") else file.removeprefix("./")
            yield InputFile(uri, os.path.getsize(file))


def _expand(pattern: str) -> Iterator[str]:
    """Yield the files and folders that a local pattern matches. `**` enters each folder once."""
    parts = pattern.split("/")
    if os.path.exists(pattern) or "**" not in parts:
        yield from [pattern] if os.path.exists(pattern) else glob.glob(pattern, include_hidden=True)
        return
    place = parts.index("**")
    above, below = "/".join(parts[:place]), "/".join(parts[place + 1 :])
    for top in _expand(above or ("/" if pattern.startswith("/") else ".")):
        if not below:
            yield top
            continue
        for folder, _ in _walk(top, pattern):
            yield from _expand(os.path.join(glob.escape(folder), below))


def _walk(top: str, pattern: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder at or below `top` with the names of its files.

    Hidden folders are left out here, not only their files later. Otherwise a hidden link could hide another folder.
    """
    return walk_once(top, functools.partial(_is_meant, pattern=pattern), _raise)


def _raise(error: OSError) -> None:
    raise error


def _identity(uri: str) -> str:
    """Return a text that all names of a file on this machine share."""
    if "://" in uri:
        return uri
    state = os.stat(uri)
    # Inode numbers are compared for files with hard links alone: some network filesystems repeat them.
    return f"{state.st_dev}:{state.st_ino}" if state.st_nlink > 1 else os.path.realpath(uri)


def _match_remote(pattern: str) -> Iterable[InputFile]:
    folder = pattern.rstrip("/")
    for result in FileSystems.match([f"{folder}/**"] if pattern.endswith("/") else [pattern, f"{folder}/**"]):
        for meta in result.metadata_list:
            # Web consoles create empty objects named "folder/" to show an empty folder.
            if not meta.path.endswith("/"):
                yield InputFile(meta.path, meta.size_in_bytes)


def _is_meant(uri: str, pattern: str) -> bool:
    """Return whether the pattern spells out every part of the URI that starts with _ or a dot."""
    spelled_out = [part for part in pattern.split("/") if part.startswith(("_", "."))]
    hidden = [part for part in uri.split("/") if part.startswith(("_", "."))]
    return all(any(part == each or fnmatch.fnmatchcase(part, each) for each in spelled_out) for part in hidden)
