"""What a pattern of logs lists, compared with the standard library where links do not lead in circles."""

from __future__ import annotations

import glob
import os
import pathlib

import pytest

from pipelines.reward_stream.sources.listing import list_files

PATTERNS = (
    "**",
    "**/*.jsonl",
    "d/**",
    "d/**/*.jsonl",
    "d/*/**/b.jsonl",
    "**/x/**/*.jsonl",
    "*/x/*.jsonl",
    "d/x/b.jsonl",
)


@pytest.fixture
def tree(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    for name in ("a.jsonl", "d/a.jsonl", "d/x/b.jsonl", "d/x/y/b.jsonl", "d/_z/b.jsonl", "d/.hidden/b.jsonl"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("beginning", ["", "absolute"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_without_links_a_pattern_matches_what_glob_matches(tree: pathlib.Path, pattern: str, beginning: str) -> None:
    pattern = str(tree / pattern) if beginning else pattern
    assert sorted(list_files(pattern)) == sorted(filter(os.path.isfile, glob.iglob(pattern, recursive=True)))


def test_each_folder_is_listed_once_though_links_lead_to_folders_above(tree: pathlib.Path) -> None:
    (tree / "d/x/up").symlink_to("..")
    (tree / "d/x/y/up").symlink_to("../..")
    (tree / "d/linked").symlink_to("../elsewhere")
    (tree / "elsewhere").mkdir()
    (tree / "elsewhere/c.jsonl").write_text("{}\n")
    found = sorted(list_files("d/**/*.jsonl"))
    assert found == ["d/_z/b.jsonl", "d/a.jsonl", "d/linked/c.jsonl", "d/x/b.jsonl", "d/x/y/b.jsonl"]


def test_a_folder_that_cannot_be_read_is_named(tree: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refusing(path: str) -> os._ScandirIterator[str]:
        if os.fspath(path).endswith("y"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    said: list[tuple[str, str]] = []
    list_files("d/**/*.jsonl", lambda path, sentence: said.append((path, sentence)))
    assert [path for path, _ in said] == ["d/x/y"] and "Permission denied" in said[0][1]
