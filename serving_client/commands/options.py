"""Options that the commands share, so that the same idea has the same name everywhere, and their mistakes."""

from __future__ import annotations

import argparse
import math
from typing import Any

from serving_client.channel import target_list

__all__ = ["BadInput", "add_model", "add_query", "add_version", "positive_count", "positive_s"]


class BadInput(Exception):
    """A file that was named is missing or unreadable; exit code 3."""


def positive_s(text: str) -> float:
    """A number of seconds above 0, finite."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return seconds


def positive_count(text: str) -> int:
    """A whole number from 1."""
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1")
    return int(text)


def add_model(parser: argparse.ArgumentParser) -> None:
    """--server, --model and --timeout: whom to ask, about what, and for how long to wait."""
    parser.add_argument(
        "--server",
        action=_Servers,
        required=True,
        metavar="HOST:PORT",
        help="gRPC address of a model server; repeat it for replicas",
    )
    parser.add_argument("--model", required=True, metavar="NAME", help="name of the model on the server")
    parser.add_argument(
        "--timeout", type=positive_s, default=5.0, metavar="SECONDS", help="for one call, retries included (default: 5)"
    )


def add_version(parser: argparse.ArgumentParser, *, label: bool) -> None:
    """--version and, where the server knows them, --label."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", type=_version, metavar="N", help="this version (default: the server's choice)")
    if label:
        which.add_argument("--label", metavar="NAME", help="the version that has this label, as in stable or canary")


def add_query(parser: argparse.ArgumentParser) -> None:
    """ITEM…, --exclude and --k: what is asked of a recommender."""
    parser.add_argument(
        "history", nargs="*", metavar="ITEM", help="the user's items, oldest first; none: popular items"
    )
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="ITEM",
        help="not to be recommended either; repeat it for more",
    )
    parser.add_argument("--k", type=positive_count, metavar="N", help="at most so many items (default: all it gives)")


class _Servers(argparse.Action):
    """Collects --server, each checked as the client will."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        servers = [*(getattr(namespace, self.dest) or []), values]
        try:
            target_list(servers)
        except ValueError as error:
            raise argparse.ArgumentError(self, str(error)) from None
        setattr(namespace, self.dest, servers)


def _version(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number")
    return int(text)
