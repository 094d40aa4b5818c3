"""The rule for ids."""

from __future__ import annotations

import pytest

from serving_client.contracts.ids import id_fault


@pytest.mark.parametrize("text", ["a", "007", " ", "é" * 512, "x" * 1_024, "a\tb", "\u2028"])
def test_an_id_has_1_to_1024_bytes(text: str) -> None:
    assert id_fault(text) == ""


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is empty"),
        ("x" * 1_025, "has 1,025 bytes, more than 1,024"),
        ("é" * 513, "has 1,026 bytes, more than 1,024"),
        ("a\0b", "holds NUL, CR or LF"),
        ("a\r", "holds NUL, CR or LF"),
        ("\na", "holds NUL, CR or LF"),
        ("\ud800", "holds half a surrogate pair"),
    ],
)
def test_the_fault_of_another_text_is_named(text: str, fault: str) -> None:
    assert id_fault(text) == fault
