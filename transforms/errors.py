"""Which mistakes recbeam names to a person, and with which exit code each ends a command.

The tree (one class per exit code of the architecture's contracts):

    RecbeamError      1  anything the project knows how to say in one sentence
    ├── BadUsage      2  options that contradict each other, an output folder with other content
    ├── BadInput      3  no such file, missing column, too many bad rows
    └── Refused       4  a gate that a candidate did not pass

A message is one sentence: where, what with the value, what to do. Beam workers never raise these: they emit the
fault as a value, and the main process raises it after the run, so that every runner behaves alike.
"""

from __future__ import annotations

__all__ = ["BadInput", "BadUsage", "RecbeamError", "Refused"]


class RecbeamError(Exception):
    """Base of all errors that `main` shows as one sentence instead of a stack trace."""

    exit_code: int = 1


class BadUsage(RecbeamError):
    """The command line cannot be carried out as written."""

    exit_code = 2


class BadInput(RecbeamError):
    """An input is missing, unreadable, or holds too many bad rows; nothing was published."""

    exit_code = 3


class Refused(RecbeamError):
    """A check that guards publishing said no; nothing was published."""

    exit_code = 4
