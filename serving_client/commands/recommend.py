"""`serving-client recommend`: print what a model recommends for a history."""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Mapping

from serving_client.client import Client
from serving_client.commands.options import BadInput, add_model, add_query, add_version
from serving_client.commands.tables import counted, printable, table
from serving_client.contracts.signatures import PAD_SCORE
from serving_client.errors import ServingError
from serving_client.results import Recommendation

__all__ = ["add_to", "read_titles", "run"]

LISTED = 5
"""Unknown items that the message names."""
EXAMPLE = "example: %(prog)s --server=localhost:8500 --model=cf --k=5 --items=items.csv c07 c12"


def add_to(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    add_version(parser, label=True)
    add_query(parser)
    parser.add_argument(
        "--items", metavar="CSV", help="CSV file with the columns item_id and title; titles are printed (default: none)"
    )


def run(options: argparse.Namespace) -> int:
    """Print rank, item, title and score. Print on stderr the given items that the model lacks, and who answered."""
    titles = None if options.items is None else read_titles(options.items)
    with Client(options.server, model=options.model, timeout_s=options.timeout) as client:
        started_at = time.monotonic()
        answer = client.recommend(
            options.history,
            exclude=options.exclude,
            k=options.k,
            version=options.version,
            version_label=options.label,
        )
        seconds = time.monotonic() - started_at
        unknown = _unknown(client, [*options.history, *options.exclude], answer)
    print(_table(answer, titles))
    which = answer.model if answer.version is None else f"{answer.model} version {answer.version}"
    if unknown:
        popular = bool(options.history) and set(options.history) <= set(unknown)
        then = "so these are popular items" if popular else "so they have no effect"
        print(f"model {which} does not contain {_listed(unknown)}, {then}; check the ids", file=sys.stderr)
    items, tries = counted(len(answer.items), "item"), counted(answer.attempts, "attempt")
    print(
        f"{answer.target}: {items} of model {which} in {seconds * 1000.0:.1f} ms, {tries}",
        file=sys.stderr,
    )
    return 0


def read_titles(path: str) -> dict[str, str]:
    """Read titles by item id.

    Args:
        path: CSV file with the columns item_id and title.

    Raises:
        BadInput: The file is missing, unreadable, or lacks a column.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in ("item_id", "title") if name not in (reader.fieldnames or ())]
            if missing:
                has = ", ".join(map(repr, reader.fieldnames or ())) or "none"
                raise BadInput(f"{path}: lacks the column {' and the column '.join(missing)}; its columns are {has}")
            return {row["item_id"]: row["title"] or "" for row in reader if row["item_id"]}
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path}: is not a CSV file in UTF-8 ({error}); save it as UTF-8") from error


def _unknown(client: Client, items: list[str], answer: Recommendation) -> list[str]:
    """Return the items that the model does not contain, or none if the model cannot tell."""
    if not items:
        return []
    try:
        scores = client.score_items([], items, version=answer.version)
    except ServingError:  # a model without the signature score_items; the recommendations are printed all the same
        return []
    scored = zip(items, scores.tolist(), strict=True)
    return list(dict.fromkeys(item for item, score in scored if score == PAD_SCORE))


def _listed(items: list[str]) -> str:
    more = f" and {len(items) - LISTED} more" if len(items) > LISTED else ""
    return ", ".join(map(printable, items[:LISTED])) + more


def _table(answer: Recommendation, titles: Mapping[str, str] | None) -> str:
    head = ["rank", "item", *(["title"] if titles is not None else []), "score"]
    rows = []
    for rank, (item, score) in enumerate(zip(answer.items, answer.scores.tolist(), strict=True), start=1):
        title = [titles.get(item, "")] if titles is not None else []
        rows.append([str(rank), item, *title, f"{score:.6g}"])
    return table(head, rows, right=("rank", "score"))
