"""Define the errors that a command shows as one sentence, and the exit code of each.

One class per exit code:

    RecbeamError      1  any other error that the project explains in one sentence
    ├── BadUsage      2  options contradict each other, or the output folder has other content
    ├── BadInput      3  a file or column is missing, or too many rows are bad
    └── Refused       4  a candidate did not pass a check before publishing

A message is one sentence: where, what is wrong with the value, what to do. Beam workers never raise these errors. They
emit the fault as a value, and the main process raises the error after the run. So every runner behaves alike.
"""

from __future__ import annotations

__all__ = ["BadInput", "BadUsage", "RecbeamError", "Refused"]


class RecbeamError(Exception):
    """Base of all errors that `main` shows as one sentence instead of a stack trace."""

    exit_code: int = 1


class BadUsage(RecbeamError):
    """The options cannot be used as given."""

    exit_code = 2


class BadInput(RecbeamError):
    """An input is missing, cannot be read, or has too many bad rows. Nothing was published."""

    exit_code = 3


class Refused(RecbeamError):
    """A check before publishing failed. Nothing was published."""

    exit_code = 4
