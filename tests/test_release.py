"""The pure parts of tools/release.py: dating the changelog and checking the sdist's files."""

from __future__ import annotations

import datetime

import pytest

from tools import release

DATE = datetime.date(2026, 2, 3)
CHANGELOG = """# Changelog

## [Unreleased]

### Added

- `Client`: a client.

## [0.1.0] - 2026-01-01

- `batch_cf`: a pipeline.
"""


def test_the_unreleased_entries_get_the_version_and_the_date() -> None:
    expected = CHANGELOG.replace("## [Unreleased]\n", "## [Unreleased]\n\n## [0.2.0] - 2026-02-03\n")
    assert release.dated(CHANGELOG, "0.2.0", DATE) == expected


def test_a_second_release_without_a_new_entry_is_refused() -> None:
    once = release.dated(CHANGELOG, "0.2.0", DATE)
    with pytest.raises(ValueError, match="no entry under"):
        release.dated(once, "0.3.0", DATE)


def test_a_version_is_released_once() -> None:
    with pytest.raises(ValueError, match=r"already has a section for 0\.1\.0"):
        release.dated(CHANGELOG, "0.1.0", DATE)


@pytest.mark.parametrize("version", ["", "1", "v1.0.0", "1.0", "1.0.0 ", "1.0.0/x", "latest"])
def test_a_malformed_version_is_refused(version: str) -> None:
    with pytest.raises(ValueError, match="is malformed"):
        release.dated(CHANGELOG, version, DATE)


@pytest.mark.parametrize("text", ["# Changelog\n", CHANGELOG + "\n## [Unreleased]\n\n- again\n"])
def test_exactly_one_unreleased_section_is_needed(text: str) -> None:
    with pytest.raises(ValueError, match="keep exactly one"):
        release.dated(text, "0.2.0", DATE)


def test_the_changelog_of_the_project_has_one_unreleased_section() -> None:
    lines = (release.ROOT / "CHANGELOG.md").read_text().splitlines()
    assert lines.count(release.UNRELEASED) == 1


def test_required_files_that_an_sdist_lacks_are_named() -> None:
    names = [f"recbeam-0.1.0/{name}" for name in release.REQUIRED]
    assert release.missing_files(names) == []
    assert release.missing_files(names[1:]) == ["LICENSE"]
    assert release.missing_files(["LICENSE", *names[1:]]) == ["LICENSE"]


def test_every_required_file_is_in_the_project() -> None:
    assert [name for name in release.REQUIRED if not (release.ROOT / name).is_file()] == []
