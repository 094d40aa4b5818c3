"""`serving-client status`: print the versions of a model on every server, their states and load errors."""

from __future__ import annotations

import argparse
import sys

from serving_client.client import Client
from serving_client.commands.options import add_model, add_version
from serving_client.commands.tables import counted, table
from serving_client.errors import ServingError

__all__ = ["add_to", "run"]

EXAMPLE = "example: %(prog)s --server=replica-1:8500 --server=replica-2:8500 --model=cf"


def add_to(parser: argparse.ArgumentParser) -> None:
    """Declare the options. There is no --label, because servers ignore labels here."""
    add_model(parser)
    add_version(parser, label=False)


def run(options: argparse.Namespace) -> int:
    """Print a line per version and server, then raise the first error of a server that did not answer."""
    rows: list[list[str]] = []
    available, problem = 0, None
    for server in options.server:
        try:  # one by one: a client with all of them would ask one of them
            with Client(server, model=options.model, timeout_s=options.timeout) as client:
                versions = client.status(version=options.version)
        except ServingError as error:
            problem = problem or error
            rows.append([server, options.model, "", type(error).__name__, error.message])
            continue
        for one in sorted(versions, key=lambda one: one.version, reverse=True):
            available += one.state == "AVAILABLE"
            rows.append([server, options.model, str(one.version), one.state, one.error])
    print(table(("server", "model", "version", "state", "error"), rows, right=("version",)))
    if problem is not None:
        raise problem
    print(f"model {options.model}: {available} of {counted(len(rows), 'version')} AVAILABLE", file=sys.stderr)
    return 0
