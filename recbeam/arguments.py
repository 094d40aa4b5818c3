"""Argument parsing for every command: one-line errors that name the closest valid word.

argparse prints its usage before each error. With 50 flags the error then scrolls away, so `Parser` prints one line.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

__all__ = ["EXIT_CODES", "Parser", "closest"]

EXIT_CODES = "exit code: 0 done; 2 bad usage; 3 bad input; 4 refused; 1 anything else"

_NUMBERS = {int: "a whole number", float: "a number"}


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that resembles a mistyped one most, or None if no word is similar.

    Args:
        word: The word as typed. Upper and lower case count as the same letter.
        known: The valid words.
    """
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), by_lower, 1)
    return by_lower[found[0]] if found else None


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are one line each: where, what with the value, what to do.

    It takes the arguments of `argparse.ArgumentParser`.
    """

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse the arguments; exit with code 2 and one line on stderr if one of them is invalid."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(self.unknown(unknown[0]))
        return found

    def unknown(self, argument: str) -> str:
        """Return the error text for an argument that the parser does not define."""
        flag = argument.partition("=")[0]
        close = closest(flag, _flags_of(self)) if flag.startswith("--") else None
        return f"unknown argument {argument}; {f'did you mean {close}?' if close else 'see --help'}"

    def error(self, message: str) -> NoReturn:
        """Print the message as one line on stderr and exit with code 2."""
        hint = "" if any(word in message for word in ("; ", "did you mean", "(choices:")) else "; see --help"
        print(f"{self.prog}: {message}{hint}", file=sys.stderr)
        sys.exit(2)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        choices = [str(choice) for choice in action.choices]
        close = closest(str(value), choices)
        if isinstance(action, argparse._SubParsersAction):
            wrong, kind = f"{value} is not a command", "commands"
        else:
            wrong, kind = f"{_name(action)}{value} is not a choice", "choices"
        hint = f"; did you mean {close}?" if close else ""
        raise argparse.ArgumentError(None, f"{wrong}{hint} ({kind}: {', '.join(choices)})")

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        kind = action.type
        if kind is not int and kind is not float:
            return super()._get_value(action, arg_string)
        try:
            return kind(arg_string)
        except ValueError:
            text = f"{_name(action)}{arg_string} is not {_NUMBERS[kind]}; correct the value"
            raise argparse.ArgumentError(None, text) from None


def _name(action: argparse.Action) -> str:
    """Return how an error names the action: `--flag=`, or the metavar of a positional argument."""
    flags = [flag for flag in action.option_strings if flag.startswith("--")]
    return f"{flags[0]}=" if flags else f"{action.metavar or action.dest}: "


def _flags_of(parser: argparse.ArgumentParser) -> list[str]:
    """Return the flags of the parser and of its sub-commands."""
    flags: list[str] = []
    for action in parser._actions:
        flags += action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                flags += _flags_of(command)
    return flags
