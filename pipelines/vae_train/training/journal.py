"""Record each epoch as a line of training.jsonl and as TensorBoard scalars with the same names.

Every epoch rewrites the complete file and renames it, so a reader never sees a partial line. A killed run may have
recorded an epoch for which it has no checkpoint. When the run resumes, that line is dropped and written again.
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
    """The record of one epoch.

    Attributes:
        epoch: Epoch, from 1.
        steps: Steps since the run began.
        loss: Mean per user over the epoch. Smaller is better.
        log_likelihood: Mean per user over the epoch. Larger is better.
        kl: Mean per user over the epoch.
        beta: Weight of the KL term at the last step.
        learning_rate: Learning rate of the optimisers.
        validation: Metrics by name, empty without validation.
        seconds: Seconds spent on the epoch, without interruptions.
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
        """Return the record as one flat object that includes the metrics."""
        values = dataclasses.asdict(self)
        return {**{name: values[name] for name in values if name != "validation"}, **self.validation}


def read_journal(path: str) -> list[dict[str, Any]]:
    """Read the lines of a training.jsonl. Return an empty list if the file does not exist."""
    if not os.path.isfile(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


class Journal:
    """The files training.jsonl and tensorboard/ of a run.

    Args:
        work_dir: Folder of the run.
        epochs: Number of epochs to keep from an earlier, interrupted run.
        chief: Whether this process writes. If False, every method does nothing.
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
        storage.remove(folder)  # event files cannot be truncated, so they are rewritten from the lines that are kept
        self._scalars = import_tensorflow().summary.create_file_writer(folder)
        self._tell(self._lines)

    @property
    def lines(self) -> Sequence[Mapping[str, Any]]:
        """The lines written so far."""
        return tuple(self._lines)

    def append(self, record: EpochRecord) -> None:
        """Write the line and the scalars of an epoch."""
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
        metadata = tf.compat.v1.SummaryMetadata()  # tf.summary.scalar would need TensorBoard to be installed
        metadata.plugin_data.plugin_name = "scalars"
        with self._scalars.as_default():
            for line in lines:
                for name, value in line.items():
                    if name != "epoch":
                        tf.summary.write(name, tf.constant(value, tf.float32), step=line["epoch"], metadata=metadata)
            self._scalars.flush()
