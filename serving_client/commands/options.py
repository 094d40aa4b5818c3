"""The options that the commands share, and the checks of their values."""

from __future__ import annotations

import argparse
from typing import Any

from serving_client.channel import target_list
from serving_client.deadline import LONGEST_TIMEOUT_S, checked_timeout_s
from serving_client.errors import InvalidRequest
from serving_client.padding import text

__all__ = ["BadInput", "add_model", "add_query", "add_version", "positive_count", "positive_s"]


class BadInput(Exception):
    """A file is missing or unreadable. Exit code 3."""


def positive_s(given: str) -> float:
    """Parse a number of seconds above 0, up to a day."""
    try:
        return checked_timeout_s(float(given))
    except ValueError:
        words = f"{given} is not a number of seconds above 0 and at most {LONGEST_TIMEOUT_S:g}"
        raise argparse.ArgumentTypeError(words) from None


def positive_count(text: str) -> int:
    """Parse a whole number from 1."""
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1")
    return int(text)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add --server, --model and --timeout."""
    parser.add_argument(
        "--server",
        action=_Servers,
        required=True,
        metavar="HOST:PORT",
        help="gRPC address of a model server; repeat the flag for replicas; required",
    )
    parser.add_argument(
        "--model", type=_name, required=True, metavar="NAME", help="name of the model on the server; required"
    )
    parser.add_argument(
        "--timeout",
        type=positive_s,
        default=5.0,
        metavar="SECONDS",
        help="deadline of one call in seconds, retries included (default: 5)",
    )


def add_version(parser: argparse.ArgumentParser, *, label: bool) -> None:
    """Add --version and, if `label` is set, --label.

    Args:
        parser: Parser of the command.
        label: Whether the command takes --label.
    """
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", type=_version, metavar="N", help="version to ask (default: the server chooses)")
    if label:
        which.add_argument(
            "--label",
            type=_name,
            metavar="NAME",
            help="ask the version with this label, for example stable (default: none)",
        )


def add_query(parser: argparse.ArgumentParser) -> None:
    """Add ITEM..., --exclude and --k, the query to a recommender."""
    parser.add_argument(
        "history",
        nargs="*",
        metavar="ITEM",
        help="the user's items, oldest first (default: none, which gives popular items)",
    )
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="ITEM",
        help="item that must not be recommended; repeat the flag for more (default: none)",
    )
    parser.add_argument(
        "--k", type=positive_count, metavar="N", help="most items to print (default: all that the model returns)"
    )


class _Servers(argparse.Action):
    """Collects --server and checks each value as the client does."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        servers = [*(getattr(namespace, self.dest) or []), values]
        try:
            target_list([_name(server) for server in servers])
        except (argparse.ArgumentTypeError, ValueError) as error:
            raise argparse.ArgumentError(self, str(error)) from None
        setattr(namespace, self.dest, servers)


def _name(given: str) -> str:
    try:
        return text(given, "it")
    except InvalidRequest:
        raise argparse.ArgumentTypeError(f"{given!a} is not valid UTF-8") from None


def _version(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number")
    return int(text)
