"""tools/end_of_file.py, the check that pre-commit runs on the last line of a file."""

from __future__ import annotations

import pathlib

import pytest

from tools import end_of_file


@pytest.mark.parametrize("content", [b"", b"a\n", b"a\n\nb\n", b"\x00\x01"])
def test_files_that_are_empty_binary_or_end_with_one_newline_pass(content: bytes) -> None:
    assert end_of_file.ends_well(content)


@pytest.mark.parametrize("content", [b"a", b"a\n\n", b"\n\n"])
def test_files_that_end_otherwise_fail(content: bytes) -> None:
    assert not end_of_file.ends_well(content)


def test_the_command_names_each_wrong_file(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_bytes(b"a\n")
    wrong.write_bytes(b"a")
    assert end_of_file.main([str(right)]) == 0
    assert end_of_file.main([str(right), str(wrong)]) == 1
    assert capsys.readouterr().out.startswith(f"{wrong}: ")
