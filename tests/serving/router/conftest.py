"""Logs that are closed after the test."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from serving_client.router.log_files import LogFiles
from tests.serving.router.logs import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(tmp_path: pathlib.Path, clock: Clock) -> Iterator[Callable[..., LogFiles]]:
    """Make logs whose thread does not wake by itself within a test. `flush` does its work."""
    made: list[LogFiles] = []

    def make(**arguments: Any) -> LogFiles:
        defaults = {"folder": tmp_path / "log", "kind": "decisions", "flush_interval_s": 3600.0, "clock_us": clock}
        made.append(LogFiles(**defaults | arguments))
        return made[-1]

    yield make
    for log in made:
        log.close()
