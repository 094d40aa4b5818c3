"""The bandits file of a pipeline: its bytes with its content, and every fault as bad input."""

from __future__ import annotations

import pathlib

import pytest

from serving_client.bandits_file import parse_bytes
from transforms.attribution.bandits_file import read
from transforms.errors import BadInput

EXAMPLE = pathlib.Path(__file__).resolve().parents[3] / "examples" / "bandits" / "thompson_beta.yaml"


def test_the_bytes_and_the_content_are_returned() -> None:
    data, bandits = read(str(EXAMPLE))
    assert data == EXAMPLE.read_bytes()
    assert bandits == parse_bytes(data, "elsewhere.yaml")


def test_a_missing_file_is_bad_input_with_its_name(tmp_path: pathlib.Path) -> None:
    with pytest.raises(BadInput, match=r"--bandits=.*nowhere\.yaml: the file does not exist"):
        read(str(tmp_path / "nowhere.yaml"))


def test_an_invalid_file_is_bad_input_with_its_place(tmp_path: pathlib.Path) -> None:
    (tmp_path / "bandits.yaml").write_text("bandits: {}")
    with pytest.raises(BadInput, match=r"bandits\.yaml: bandits is empty; name at least one"):
        read(str(tmp_path / "bandits.yaml"))
