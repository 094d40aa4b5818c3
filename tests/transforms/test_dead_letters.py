"""Dead letters survive their file byte for byte, under names and in an order that do not depend on the run."""

from __future__ import annotations

import random
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given
from hypothesis import strategies as st

from transforms.dead_letters import DeadLetter, WriteDeadLetters, file_name, from_json_line, to_json_line


@given(original=st.one_of(st.binary(max_size=20), st.text(max_size=20).map(lambda t: t.encode("utf-8", "replace"))))
def test_a_line_of_json_gives_the_original_bytes_back(original: bytes) -> None:
    letter = DeadLetter("s3://b/k.csv", 41, 'timestamp "yesterday" is …', original)
    line = to_json_line(letter)
    assert "\n" not in line
    assert from_json_line(line) == letter


def test_text_stays_readable_and_other_bytes_are_base64() -> None:
    assert '"original": "é,1"' in to_json_line(DeadLetter("f", 1, "r", "é,1".encode()))
    assert '"original_base64": "/w=="' in to_json_line(DeadLetter("f", 1, "r", b"\xff"))


LETTERS = [
    DeadLetter(source, position, "bad", b"%d" % position)
    for source in ("a/x.csv", "b/x.csv", "c")
    for position in (2, 10, 3)
]


@pytest.mark.parametrize("seed", [1, 2])
def test_files_are_one_per_source_sorted_and_the_same_for_any_order(seed: int, tmp_path: Path) -> None:
    letters = random.Random(seed).sample(LETTERS, len(LETTERS))
    folder = tmp_path / "out" / "dead_letters"
    for _ in range(2):  # a retry replaces
        with beam.Pipeline(FnApiRunner()) as pipeline:
            paths = pipeline | beam.Create(letters) | WriteDeadLetters(str(folder))
            assert_that(paths, equal_to([str(folder / file_name(source)) for source in ("a/x.csv", "b/x.csv", "c")]))
    assert {path.name for path in folder.iterdir()} == {file_name(source) for source in ("a/x.csv", "b/x.csv", "c")}
    lines = (folder / file_name("b/x.csv")).read_text().splitlines()
    assert [from_json_line(line) for line in lines] == sorted(l for l in LETTERS if l.source == "b/x.csv")  # noqa: E741


def test_without_dead_letters_nothing_is_written(tmp_path: Path) -> None:
    with beam.Pipeline(FnApiRunner()) as pipeline:
        _ = pipeline | beam.Create([], reshuffle=False) | WriteDeadLetters(str(tmp_path / "dead_letters"))
    assert list(tmp_path.iterdir()) == []


def test_file_names_are_readable_and_differ_for_different_sources() -> None:
    assert file_name("s3://b/day=1/part-0.csv").startswith("part-0.csv-")
    assert file_name("a/x") != file_name("b/x")
    assert "/" not in file_name("kafka://h:1/topic/")
    with pytest.raises(ValueError, match="output_dir"):
        WriteDeadLetters("")
