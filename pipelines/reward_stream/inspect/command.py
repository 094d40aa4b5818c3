"""Define the command `recbeam reward-stream inspect`, which prints the published snapshots once or repeatedly."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from pipelines.reward_stream.inspect.reading import read_snapshots
from pipelines.reward_stream.inspect.summary import Summary, as_json, summarize
from pipelines.reward_stream.inspect.tables import fit, render
from pipelines.reward_stream.sources.logs import read_decisions
from recbeam.arguments import Parser
from serving_client.contracts.times import parse_duration, wall_clock_us
from transforms.errors import BadInput, BadUsage, RecbeamError
from transforms.inference.exposure import exposure_by_user
from transforms.runs.command_line import run_main

__all__ = ["main", "parser"]

# More often a destination would do little else than answer.
_MIN_INTERVAL_S = 0.1

# A file or a pipe has no width that tables would have to fit.
_NO_LIMIT = 10_000

_EPILOG = """\
n counts decisions whose window is over. pending counts decisions whose window is open. The mean describes an arm where
it was shown. SNIPS estimates, from the logged propensities, what the arm would have earned if it were always chosen.
ESS is the number of decisions that this estimate is worth. Exposure compares the decisions with the logged
propensities. Its verdict holds however often you look. With sticky assignment all decisions of a user are one draw.
Then pass --decisions, and users are counted.

examples:
  recbeam reward-stream inspect snapshots/
  recbeam reward-stream inspect snapshots/ --bandit=home_row --all_segments --watch=2s
  recbeam reward-stream inspect dynamodb://snapshots --json

exit code: 0 done; 2 bad usage; 3 nothing is published there; 1 anything else
"""


def parser() -> argparse.ArgumentParser:
    """Build the parser of the flags."""
    made = Parser(
        prog="recbeam reward-stream inspect",
        description="Print arms, means, intervals, pending, lag and age of the newest snapshots.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = made.add_argument
    add(
        "destination",
        metavar="DEST",
        help="where reward_stream publishes: a directory, s3://, gs://, dynamodb://, redis://",
    )
    add("--bandit", metavar="ID", help="show only this bandit (default: all bandits, and _stream)")
    add("--segment", metavar="S", help="show this segment (default: *, which has all decisions)")
    add("--all_segments", action="store_true", help="show every segment (default: off)")
    add("--decisions", metavar="GLOB", help="decision logs, to test exposure by user (default: off, by decision)")
    add(
        "--watch",
        metavar="INTERVAL",
        nargs="?",
        const="2s",
        help="print again after this time, until Ctrl-C (default: off; without INTERVAL: 2s)",
    )
    add(
        "--json",
        action="store_true",
        help="print one JSON object instead of tables; with --watch one per line (default: off)",
    )
    return made


def main(
    argv: Sequence[str] | None = None,
    clock: Callable[[], int] = wall_clock_us,
    sleep: Callable[[float], None] = time.sleep,
    console: Console | None = None,
) -> int:
    """Run the command.

    Args:
        argv: The arguments. None means those of the process.
        clock: Returns microseconds since 1970.
        sleep: Waits for a number of seconds.
        console: Where to print. None prints to stdout.

    Returns:
        The exit code: 0 done, 2 bad usage, 3 nothing published, 1 anything else.
    """
    try:
        options = parser().parse_args(argv)
    except SystemExit as end:  # argparse has said why
        return end.code if isinstance(end.code, int) else 2
    console = console or Console()
    if not console.is_terminal:
        console.width = _NO_LIMIT

    def body() -> str:
        _run(options, clock, sleep, console)
        return ""  # the tables have said it all

    return run_main(body)


def _run(
    options: argparse.Namespace, clock: Callable[[], int], sleep: Callable[[float], None], console: Console
) -> None:
    if options.segment is not None and options.all_segments:
        raise BadUsage("recbeam reward-stream inspect: --segment and --all_segments cannot be combined; drop one")
    if Path(options.destination).is_file():
        raise BadUsage(
            f"recbeam reward-stream inspect: DEST={options.destination}: is a file; name the folder of --snapshots"
        )
    if options.watch is None:
        _print(options, _look(options, clock()), console)
        return
    try:
        interval_s = parse_duration(options.watch) / 1e6
    except ValueError as error:
        raise BadUsage(f"recbeam reward-stream inspect: --watch={options.watch}: {error}") from error
    if interval_s < _MIN_INTERVAL_S:
        raise BadUsage(
            f"recbeam reward-stream inspect: --watch={options.watch}: is less than 100ms; write 100ms or more"
        )
    with contextlib.suppress(KeyboardInterrupt):
        _watch(options, interval_s, clock, sleep, console)


def _watch(
    options: argparse.Namespace,
    interval_s: float,
    clock: Callable[[], int],
    sleep: Callable[[float], None],
    console: Console,
) -> None:
    """Redraw until interrupted.

    If the snapshots cannot be read, show the error in place of the tables and try again.
    """
    if options.json:
        while True:
            _print(options, _look(options, clock()), console)
            sleep(interval_s)
    if not console.is_terminal:
        while True:
            _show(_picture(options, clock(), console), console)
            sleep(interval_s)
    more = "more: --bandit=ID" if options.bandit is None else "more: a taller window, or no --watch"
    with Live(Text("reading …"), console=console, auto_refresh=False) as live:
        while True:
            live.update(fit(_picture(options, clock(), console), console, more), refresh=True)
            sleep(interval_s)


def _picture(options: argparse.Namespace, now_us: int, console: Console) -> RenderableType:
    try:
        return render(_look(options, now_us), console)
    except (RecbeamError, OSError) as error:
        return Text(f"{error}; trying again", style="red")


def _look(options: argparse.Namespace, now_us: int) -> list[Summary]:
    documents = read_snapshots(options.destination, options.bandit)
    segments = None if options.all_segments else (options.segment or "*",)
    known = {row["segment"] for document in documents for row in document.get("arms", ())}
    if options.segment is not None and options.segment not in known:
        raise BadInput(
            f"{options.destination}: no row of segment {options.segment!r}; --all_segments shows what there is"
        )
    users = _users(options.decisions)
    return [summarize(document, now_us, segments, _of(users, document)) for document in documents]


def _users(decisions: str | None) -> dict[tuple[str, int], list[dict[str, Any]]] | None:
    return None if decisions is None else exposure_by_user(read_decisions(decisions))


def _of(
    users: dict[tuple[str, int], list[dict[str, Any]]] | None, document: dict[str, Any]
) -> list[dict[str, Any]] | None:
    return None if users is None else users.get((document["bandit_id"], document.get("policy_epoch", 0)), [])


def _print(options: argparse.Namespace, summaries: Sequence[Summary], console: Console) -> None:
    if options.json:
        print(json.dumps({"snapshots": [as_json(summary) for summary in summaries]}), flush=True)
    else:
        _show(render(summaries, console), console)
    sys.stdout.flush()


def _show(picture: RenderableType, console: Console) -> None:
    """Print the picture. Without a terminal no line ends in spaces."""
    if console.is_terminal:
        console.print(picture)
        return
    with console.capture() as captured:
        console.print(picture)
    console.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
    console.file.flush()
