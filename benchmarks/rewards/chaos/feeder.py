"""Delivers a plan at a multiple of real time: files by rename, pieces at the end of what is there."""

from __future__ import annotations

import os
import pathlib
import threading
import time
from collections.abc import Sequence

from benchmarks.rewards.chaos.world import Delivery

__all__ = ["Feeder", "deliver"]


class Feeder(threading.Thread):
    """A thread that is done when everything has been delivered. speed: seconds of event time per second."""

    def __init__(self, folder: pathlib.Path, plan: Sequence[Delivery], speed: float) -> None:
        super().__init__(name="feeder", daemon=True)
        self._folder, self._plan, self._speed = folder, plan, speed

    def run(self) -> None:
        began = time.monotonic()
        for delivery in self._plan:
            time.sleep(max(0.0, began + delivery.at_s / self._speed - time.monotonic()))
            deliver(self._folder, delivery)


def deliver(folder: pathlib.Path, delivery: Delivery) -> None:
    """One delivery, now: a file that may grow later by rename, too, with what it has of its last line."""
    path = folder / delivery.name
    if delivery.append:
        with path.open("ab") as file:
            file.write(delivery.data)
        return
    unfinished = path.with_name(f".{path.name}.tmp")
    unfinished.write_bytes(delivery.data)
    os.replace(unfinished, path)
