"""Which files a pattern names: globs, folders, commas, hidden names, and an S3 bucket."""

from __future__ import annotations

import gzip
import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from moto.server import ThreadedMotoServer

from transforms.dead_letters import WriteDeadLetters
from transforms.errors import BadInput
from transforms.interactions.files import InputFile, find, match, split_globs
from transforms.interactions.format import InteractionFormat
from transforms.interactions.read import ReadInteractions, check_first


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.csv", "b,c.csv", "day=1/part-0", "day=2/part-0", "_SUCCESS", ".crc", "_tmp/x", "day=2/.part"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ("{}", ["a.csv", "b,c.csv", "day=1/part-0", "day=2/part-0"]),
        ("{}/", ["a.csv", "b,c.csv", "day=1/part-0", "day=2/part-0"]),
        ("{}/*", ["a.csv", "b,c.csv", "day=1/part-0", "day=2/part-0"]),
        ("{}/**", ["a.csv", "b,c.csv", "day=1/part-0", "day=2/part-0"]),
        ("{}/*/.p*", ["day=2/.part"]),
        ("{}/day=*", ["day=1/part-0", "day=2/part-0"]),
        ("{}/**/part-?", ["day=1/part-0", "day=2/part-0"]),
        ("{}/a.csv,{}/day=1/*,{}/a*", ["a.csv", "day=1/part-0"]),
        ("{}/b[,]c.csv", ["b,c.csv"]),
        ("{}/_SUCCESS,{}/_tmp", ["_SUCCESS", "_tmp/x"]),
    ],
)
def test_patterns_name_files_sorted_once_and_without_hidden_ones(folder: Path, patterns: str, names: list[str]) -> None:
    found = match(split_globs(patterns.replace("{}", str(folder))))
    assert [str(Path(file.uri).relative_to(folder)) for file in found] == names
    assert [file.size_bytes for file in found] == [len(name) for name in names]


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """Folders with links between them: to a folder elsewhere, to a sibling, to the top, hidden ones, and to a file.

    The link file.csv and the linked folder month lead to the same file.
    """
    for name in ("elsewhere/x.csv", "in/a/y.csv", "in/b/z.csv", "in/_old/old.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    for name, target in {
        "in/a/_hidden": "../b", "in/cycle": ".", "in/also": ".", "in/month": "../elsewhere", "in/b/self": ".",
        "in/file.csv": "../elsewhere/x.csv", "in/seen": "_old",
    }.items():  # fmt: skip
        (tmp_path / name).symlink_to(target)
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("in", ["a/y.csv", "b/z.csv", "file.csv", "seen/old.csv"]),
        ("in/**", ["a/y.csv", "b/z.csv", "file.csv", "seen/old.csv"]),
        ("in/**/*.csv", ["a/y.csv", "b/z.csv", "file.csv", "seen/old.csv"]),
        ("in/**/?/**/*.csv", ["a/y.csv", "b/z.csv"]),
        ("in/month", ["month/x.csv"]),
        ("in/m*/*", ["month/x.csv"]),
        ("in/a/_hidden", ["a/_hidden/z.csv"]),
    ],
)
def test_linked_folders_are_read_once_and_cycles_end(
    linked: Path, pattern: str, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = match([str(linked / pattern)])
    assert [str(Path(file.uri).relative_to(linked / "in")) for file in found] == names
    monkeypatch.chdir(linked)
    assert [file.uri for file in match([pattern])] == [f"in/{name}" for name in names]


def test_a_pattern_may_begin_with_two_stars(linked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(linked / "elsewhere")
    assert [file.uri for file in match(["**/*.csv"])] == ["x.csv"]
    (linked / "elsewhere/sub").mkdir()
    (linked / "elsewhere/sub/[1].csv").write_text("")
    assert [file.uri for file in match(["**/*.csv"])] == ["sub/[1].csv", "x.csv"]


@pytest.mark.parametrize("name", ["gone", "loop"])
def test_a_link_that_leads_nowhere_is_bad_input(linked: Path, name: str) -> None:
    (linked / "in" / name).symlink_to(name if name == "loop" else "nowhere")
    with pytest.raises(BadInput, match=r"cannot be listed .*" + name):
        match([str(linked / "in")])


def test_a_folder_that_cannot_be_listed_is_bad_input(linked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if path.endswith("/in/b"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(BadInput, match=r"cannot be listed \(PermissionError"):
        match([str(linked / "in")])


def test_a_file_with_several_names_is_one_file_and_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "link.csv").symlink_to(folder / "a.csv")
    (folder / "copy.csv").write_text("a.csv")
    for globs in (["a.csv", "./a.csv"], ["a.csv", str(folder / "a.csv")], ["*.csv", "day=1/../a.csv"], ["*.csv"]):
        files, repeated = find(globs)
        assert [Path(file.uri).resolve() for file in files].count(folder / "a.csv") == 1
        assert [Path(uri).resolve() for uri in repeated] == [folder / "a.csv"]
    assert [file.uri for file in match(["*.csv"])] == ["a.csv", "b,c.csv", "copy.csv"]
    os.link("copy.csv", "hard.csv")
    files, repeated = find(["copy.csv", "hard.csv"])
    assert ([file.uri for file in files], repeated) == (["copy.csv"], ["copy.csv"])
    assert find(["day=*", "**/part-0"]).repeated == ["day=1/part-0", "day=2/part-0"]
    assert find(["day=*"]).repeated == []


@pytest.mark.parametrize("pattern", ["nothing*.csv", "missing.csv", "empty"])
def test_a_pattern_that_names_nothing_is_bad_input(folder: Path, pattern: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(BadInput, match=f"{folder}/.*: no such file") as raised:
        match([str(folder / "a.csv"), str(folder / pattern)])
    assert raised.value.exit_code == 3


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A bucket named recbeam on a local server; the value is Beam's flags for it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    endpoint = f"http://127.0.0.1:{port}"
    client = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id="k", aws_secret_access_key="s", region_name="us-east-1"
    )
    client.create_bucket(Bucket="recbeam")
    parquet = io.BytesIO()
    pq.write_table(pa.table({"user_id": [1], "item_id": [2]}), parquet)
    objects = {
        "logs/": b"",
        "logs/part-0": b"user_id,item_id\na,b\n,c\n",
        "logs/day=2/part-1": parquet.getvalue(),
        "logs/x.gz": gzip.compress(b'{"user_id":"g","item_id":7}\n'),
        "logs/_SUCCESS": b"",
    }
    for key, body in objects.items():
        client.put_object(Bucket="recbeam", Key=key, Body=body)
    yield [
        f"--s3_endpoint_url={endpoint}",
        "--s3_access_key_id=k",
        "--s3_secret_access_key=s",
        "--s3_region_name=us-east-1",
    ]
    FileSystems.set_options(PipelineOptions([]))
    client.close()
    server.stop()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Beam's S3 client leaves its connections to the collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_bucket_is_listed_read_and_given_dead_letters(s3: list[str]) -> None:
    options = PipelineOptions(s3)
    files = match(["s3://recbeam/logs"], options)
    assert [file.uri for file in files] == [
        "s3://recbeam/logs/day=2/part-1",
        "s3://recbeam/logs/part-0",
        "s3://recbeam/logs/x.gz",
    ]
    assert match(["s3://recbeam/logs/*"]) == files
    assert match(["s3://recbeam/logs/"]) == files
    assert match(["s3://recbeam/logs/part*"]) == [InputFile("s3://recbeam/logs/part-0", 23)]
    with pytest.raises(BadInput, match="s3://recbeam/nothing: no such file"):
        match(["s3://recbeam/nothing"])
    assert check_first(files, InteractionFormat()).names == ["user_id", "item_id"]

    with beam.Pipeline(FnApiRunner(), options=options) as pipeline:
        read = pipeline | ReadInteractions(files, InteractionFormat())
        rows = read.blocks | beam.FlatMap(lambda block: [tuple(row.values()) for row in block.to_pylist()])
        assert_that(rows, equal_to([("a", "b"), ("1", "2"), ("g", "7")]), "CheckRows")
        assert_that(read.reports | beam.Filter(lambda report: report.fault), equal_to([]), "CheckReports")
        _ = read.rejected | WriteDeadLetters("s3://recbeam/out/dead_letters")

    [written] = match(["s3://recbeam/out/dead_letters"])
    with FileSystems.open(written.uri) as stream:
        assert stream.read().decode() == (
            '{"source": "s3://recbeam/logs/part-0", "position": 3, "reason": "user_id is empty", "original": ",c"}\n'
        )
