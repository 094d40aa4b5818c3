"""Which children of a base path are versions, and which of them a policy wants."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_serving.config import Policy
from local_serving.discovery import chosen, found
from local_serving.errors import Status
from tests.serving import models
from tests.serving.server.wire import floats, until
from transforms.models.manifest import COMPLETE_FILE
from transforms.models.publish import publish


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


def test_what_no_path_can_be_is_a_base_path_that_cannot_be_read():
    with pytest.raises(Status, match="Could not find base path /m\0 for servable m with error embedded null byte"):
        found("m", "/m\0")


def test_a_fault_while_looking_for_versions_is_logged_and_the_next_look_finds_them(base, serve, monkeypatch, caplog):
    wire = serve(base)
    faults = []

    def fail_once(model, path):
        if not faults:
            faults.append(ZeroDivisionError("oops"))
            raise faults[0]
        return found(model, path)

    monkeypatch.setattr("local_serving.core.discovery.found", fail_once)
    models.add_version(base, 2)
    until(lambda: wire.version("m") == 2)
    assert "looking for versions failed" in caplog.text


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


def test_a_published_version_is_served_with_the_list_of_its_files_beside_the_model(base, serve, tmp_path):
    """The real server, too, reads only saved_model.pb, variables, assets and assets.extra of a version's folder."""
    version = publish(base / "1", tmp_path / "published")
    assert (tmp_path / "published" / str(version) / COMPLETE_FILE).is_file()
    wire = serve(tmp_path / "published")
    assert wire.states("m") == {version: "AVAILABLE"}
    assert list(wire.predict("m", {"x": floats([4])}).outputs["y"].float_val) == [4.0]
