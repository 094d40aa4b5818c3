"""What happened in each epoch: a line of training.jsonl and TensorBoard scalars under the same names.

The file is written whole and renamed at every epoch, so a reader never sees half a line; an epoch that a killed run
noted but did not keep is dropped when the run goes on, and noted anew.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from transforms.files import storage
from transforms.models.import_tensorflow import import_tensorflow

__all__ = ["EpochRecord", "Journal", "read_journal"]


@dataclasses.dataclass(frozen=True)
class EpochRecord:
    """One line. epoch from 1, steps since the run's beginning; loss, log_likelihood, kl: means per user of the epoch.

    log_likelihood is larger where the model is better, loss smaller. beta: weight of the KL term at the last step.
    validation: metrics by name, empty where none was done. seconds: spent on the epoch, interruptions left out.
    """

    epoch: int
    steps: int
    loss: float
    log_likelihood: float
    kl: float
    beta: float
    learning_rate: float
    validation: Mapping[str, float]
    seconds: float

    def line(self) -> dict[str, Any]:
        """The record as one flat object: metrics stand beside the other values."""
        values = dataclasses.asdict(self)
        return {**{name: values[name] for name in values if name != "validation"}, **self.validation}


def read_journal(path: str) -> list[dict[str, Any]]:
    """The lines of a training.jsonl, none where there is no such file."""
    if not os.path.isfile(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


class Journal:
    """training.jsonl and tensorboard/ below a folder.

    epochs: how many epochs are kept of what an earlier, interrupted run wrote there. A journal that does not write
    (`chief=False`) takes every call and does nothing.
    """

    def __init__(self, work_dir: str, epochs: int, *, chief: bool = True) -> None:
        self._path = os.path.join(work_dir, "training.jsonl")
        self._chief = chief
        self._lines: list[dict[str, Any]] = []
        self._scalars: Any = None
        if not chief:
            return
        self._lines = [line for line in read_journal(self._path) if line["epoch"] <= epochs]
        self._write()
        folder = os.path.join(work_dir, "tensorboard")
        storage.remove(folder)  # event files cannot be cut: they are written anew from the lines that stay
        self._scalars = import_tensorflow().summary.create_file_writer(folder)
        self._tell(self._lines)

    @property
    def lines(self) -> Sequence[Mapping[str, Any]]:
        """All lines so far."""
        return tuple(self._lines)

    def append(self, record: EpochRecord) -> None:
        """Add an epoch's line and scalars."""
        if not self._chief:
            return
        self._lines.append(record.line())
        self._write()
        self._tell(self._lines[-1:])

    def close(self) -> None:
        """Close the event file."""
        if self._scalars is not None:
            self._scalars.close()

    def _write(self) -> None:
        with storage.write_whole(self._path) as file:
            file.write("".join(json.dumps(line) + "\n" for line in self._lines).encode())

    def _tell(self, lines: Sequence[Mapping[str, Any]]) -> None:
        tf = import_tensorflow()
        metadata = tf.compat.v1.SummaryMetadata()  # tf.summary.scalar is part of TensorBoard, which need not be here
        metadata.plugin_data.plugin_name = "scalars"
        with self._scalars.as_default():
            for line in lines:
                for name, value in line.items():
                    if name != "epoch":
                        tf.summary.write(name, tf.constant(value, tf.float32), step=line["epoch"], metadata=metadata)
            self._scalars.flush()
