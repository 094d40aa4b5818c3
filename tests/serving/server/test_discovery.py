"""Which children of a base path are versions, and which of them a policy wants."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_serving.config import Policy
from local_serving.discovery import chosen, found
from local_serving.errors import Status


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("1", 1),
        ("1700000000", 1700000000),
        ("007", 7),
        (str(2**63 - 1), 2**63 - 1),
        (str(2**63), None),
        ("tmp-123", None),
        (".tmp", None),
        ("1.0", None),
        ("1e3", None),
        ("1_000", None),
        ("0x1", None),
        ("٣", None),  # a digit, and none that the real server reads
        ("v1", None),
    ],
)
def test_a_version_is_a_name_that_is_an_int64(name, version, tmp_path):
    (tmp_path / name).mkdir()
    assert found("m", tmp_path) == ({} if version is None else {version: tmp_path / name})


def test_of_two_names_for_a_number_the_last_is_taken_with_a_warning(tmp_path, caplog):
    for name in ("7", "07"):
        (tmp_path / name).mkdir()
    with caplog.at_level(logging.WARNING):
        assert found("m", tmp_path) == {7: tmp_path / "7"}
    assert "Version 7 will be loaded from 7, 07 will be ignored." in caplog.text


def test_a_base_path_that_cannot_be_read_names_itself_and_the_model(tmp_path):
    with pytest.raises(Status) as raised:
        found("m", tmp_path / "none")
    assert raised.value.code.name == "INVALID_ARGUMENT"
    assert raised.value.message == (
        f"Could not find base path {tmp_path}/none for servable m with error No such file or directory"
    )


numbers = st.sets(st.integers(-5, 20), max_size=8)


@given(there=numbers, newest=st.integers(1, 4), listed=numbers)
def test_a_policy_takes_the_newest_or_the_listed_or_all_highest_first(there, newest, listed):
    versions = {version: f"/m/{version}" for version in there}
    assert list(chosen("m", versions, Policy(newest))) == sorted(there, reverse=True)[:newest]
    assert list(chosen("m", versions, Policy(None, frozenset(listed)))) == sorted(there & listed, reverse=True)
    everything = chosen("m", versions, Policy(None))
    assert list(everything) == sorted(there, reverse=True)
    assert everything == versions


def test_a_listed_version_that_is_not_there_is_warned_of(caplog):
    with caplog.at_level(logging.WARNING):
        chosen("m", {1: "/m/1"}, Policy(None, frozenset({1, 4})))
    assert "Version 4 of servable m" in caplog.text
    assert "was not found in the file system" in caplog.text
