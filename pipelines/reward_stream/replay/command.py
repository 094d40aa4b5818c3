"""Define the command `recbeam reward-stream replay`, which recounts a time range or dead letters."""

from __future__ import annotations

import argparse
import hashlib
import os
import posixpath
import tempfile
from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from pipelines.reward_stream.inspect.reading import read_snapshots
from pipelines.reward_stream.replay.inputs import TimeRange, write_decisions, write_letters, write_rewards
from pipelines.reward_stream.replay.letters import REPLAY_PREFIX, Moment, Sorted, read_letters, sort_letters
from pipelines.reward_stream.replay.place import check_place, fill
from pipelines.reward_stream.sources.logs import files_of
from recbeam.arguments import Parser
from serving_client.contracts.times import parse_time, wall_clock_us
from transforms.attribution import bandits_file
from transforms.attribution.rules import Rules
from transforms.dead_letters import DeadLetter
from transforms.errors import BadInput, BadUsage
from transforms.files import storage
from transforms.runs.command_line import run_main

__all__ = ["main", "parser"]

_PROGRAM = "recbeam reward-stream replay"
_DESCRIPTION = """\
Recount a time range or dead letters, beside the stream. There are two uses:

  with --snapshots: run once over the logs and over the dead letters that can count now, and publish to an own place
  with --decisions_dir and --rewards_dir: write the dead letters that can count now to the folders of the stream
"""

_EPILOG = """\
Which use is right for dead letters? A record is late when its window and allowed_lateness are over. Most dead letters
are older than that, so the stream would reject them again. With --live they are recognised by the stream's watermark
and stay. Records that were in the future can go back, and all records can if the stream starts without its --state. To
count everything that has become known since, use --snapshots: in a bounded run no record is late. Malformed records
always stay. Correct them and log them as new records. A dead letter whose log is among --decisions or --rewards is read
from the log. A record that is replayed twice counts once, by its id.

The bounded run reads the decisions with FROM <= decided_at < TO, and all rewards. Rewards of other decisions become
orphans. Its dead letters are not kept. It takes more flags, for example --max_bad_fraction and --shards.

examples:
  recbeam reward-stream replay --bandits=bandits.yaml --decisions='logs/d/*' --rewards='logs/r/*' \\
    --snapshots=yesterday --from=2026-11-23T00:00:00Z --to=2026-11-24T00:00:00Z
  recbeam reward-stream replay --bandits=bandits.yaml --decisions='logs/d/*' --rewards='logs/r/*' --snapshots=mended \\
    --dead_letters=dead
  recbeam reward-stream replay --bandits=bandits.yaml --dead_letters=dead --live=snapshots --decisions_dir=logs/d \\
    --rewards_dir=logs/r

exit code: 0 done; 2 bad usage; 3 bad input; 4 refused; 1 anything else
"""


def parser() -> argparse.ArgumentParser:
    """Build the parser of the flags."""
    made = Parser(
        prog=_PROGRAM,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = made.add_argument
    add("--bandits", metavar="FILE", required=True, help="bandits file (YAML) by which to count; required")
    add("--dead_letters", metavar="DIR", help="folder of the stream's dead letters (default: none)")
    add("--decisions", metavar="GLOB", help="decision logs (only with --snapshots)")
    add("--rewards", metavar="GLOB", help="reward logs (only with --snapshots)")
    add("--snapshots", metavar="DEST", help="empty directory or store to publish to, never the stream's")
    add(
        "--from",
        metavar="TIME",
        dest="from_",
        help="first decided_at, such as 2026-11-24T06:00:00Z (only with --snapshots; default: no limit)",
    )
    add("--to", metavar="TIME", help="end of decided_at, exclusive (only with --snapshots; default: no limit)")
    add("--overwrite", action="store_true", help="replace an earlier replay (only with --snapshots; default: off)")
    add(
        "--decisions_dir",
        metavar="DIR",
        help="folder of decision logs that the stream watches (only without --snapshots)",
    )
    add("--rewards_dir", metavar="DIR", help="folder of reward logs that the stream watches (only without --snapshots)")
    add(
        "--live",
        metavar="DEST",
        help="the stream's snapshots, to find the records that are late (only without --snapshots; default: none)",
    )
    return made


def main(
    argv: Sequence[str] | None = None,
    clock: Callable[[], int] = wall_clock_us,
    run: Callable[[list[str]], object] | None = None,
) -> int:
    """Run the command.

    Args:
        argv: The arguments. None means those of the process.
        clock: Returns microseconds since 1970.
        run: Carries out a bounded run's command line. None uses reward_stream.

    Returns:
        The exit code: 0 done, 2 bad usage, 3 bad input, 4 refused, 1 anything else.
    """
    try:
        options, others = parser().parse_known_args(argv)
    except SystemExit as end:  # argparse has said why
        return end.code if isinstance(end.code, int) else 2
    return run_main(lambda: _replay(options, others, clock, run or _bounded_run))


def _replay(
    options: argparse.Namespace, others: list[str], clock: Callable[[], int], run: Callable[[list[str]], object]
) -> str:
    problems = _problems(options, others)
    if problems:
        raise BadUsage("\n".join(problems))
    rules = Rules(bandits_file.read(options.bandits)[1])
    if options.snapshots:
        return _count_again(options, others, rules, clock(), run)
    return _write_back(options, rules, clock())


def _problems(options: argparse.Namespace, others: Sequence[str]) -> list[str]:
    counting = ("decisions", "rewards", "from_", "to", "overwrite")
    writing = ("decisions_dir", "rewards_dir", "live")
    given = {name for name in (*counting, *writing, "dead_letters") if getattr(options, name)}
    if options.snapshots:
        needed = {"decisions", "rewards"}
        foreign, why = given & set(writing), "works only without --snapshots"
    else:
        needed = {"decisions_dir", "rewards_dir", "dead_letters"}
        foreign, why = given & set(counting), "works only with --snapshots"
    found = [f"replay: --{name.rstrip('_')} {why}; drop one" for name in sorted(foreign)]
    found += [f"replay: --{name} is missing; see --help for the two uses" for name in sorted(needed - given)]
    if others and not options.snapshots:
        found.append(f"replay: unknown argument {others[0]}; see --help")
    if "--streaming" in others:
        found.append("replay: --streaming does not apply, because a replay is a bounded run; drop it")
    for name in ("from_", "to"):
        if getattr(options, name):
            try:
                parse_time(getattr(options, name))
            except ValueError as error:
                found.append(f"replay: --{name.rstrip('_')}: {error}")
    folders = [os.path.realpath(each) for each in (options.decisions_dir, options.rewards_dir) if each]
    if len(set(folders)) < len(folders):
        found.append(f"replay: --decisions_dir and --rewards_dir are both {options.rewards_dir}; give each log its own")
    if not found and options.from_ and options.to and parse_time(options.from_) >= parse_time(options.to):
        found.append(f"replay: --from={options.from_} is not before --to={options.to}; exchange them")
    return found


def _count_again(
    options: argparse.Namespace, others: list[str], rules: Rules, now_us: int, run: Callable[[list[str]], object]
) -> str:
    """Count in a scratch folder, and publish from there. A replay that fails changes nothing at --snapshots."""
    with tempfile.TemporaryDirectory(prefix="reward-stream-replay-") as scratch:
        names = ("decisions", "rewards", "snapshots", "dead_letters")
        places = {name: os.path.join(scratch, name) for name in names}
        arguments = [
            f"--bandits={options.bandits}",
            f"--decisions={places['decisions']}/*",
            f"--rewards={places['rewards']}/*",
            f"--snapshots={places['snapshots']}",
            f"--dead_letters={places['dead_letters']}",
            *others,
        ]
        _check_bounded(arguments)
        check_place(options.snapshots, overwrite=options.overwrite)
        time_range = TimeRange(*(parse_time(text) if text else None for text in (options.from_, options.to)))
        decisions, rewards = files_of(options.decisions, "--decisions"), files_of(options.rewards, "--rewards")
        letters = list(read_letters(options.dead_letters)) if options.dead_letters else []
        chosen = sort_letters(letters, rules, Moment(now_us), _sources_among(letters, [*decisions, *rewards]))
        kept = write_decisions(decisions, places["decisions"], time_range)
        write_rewards(rewards, places["rewards"])
        added = write_letters(chosen.decisions, os.path.join(places["decisions"], "letters.jsonl"), time_range)
        write_letters(chosen.rewards, os.path.join(places["rewards"], "letters.jsonl"))
        if letters:
            _print_fates(chosen)
        if not kept.inside + added:
            raise BadInput(f"no decision of {len(decisions)} files is in the range; check --from, --to and --decisions")
        run(arguments)
        about = {"from": options.from_, "to": options.to}
        fill(options.snapshots, places["snapshots"], about, overwrite=options.overwrite)
    left = f", {kept.unreadable:,} lines without a readable decided_at left out" if kept.unreadable else ""
    return (
        f"{kept.inside:,} decisions in the range, {kept.outside:,} outside{left}; "
        f"look at them with recbeam reward-stream inspect {options.snapshots}"
    )


def _write_back(options: argparse.Namespace, rules: Rules, now_us: int) -> str:
    chosen = sort_letters(read_letters(options.dead_letters), rules, Moment(now_us, _watermark_us(options.live)))
    _print_fates(chosen)
    for letters, folder in ((chosen.decisions, options.decisions_dir), (chosen.rewards, options.rewards_dir)):
        # The name depends on the content: the same letters give the same file, which the stream has read already.
        digest = hashlib.sha256(b"\n".join(letter.original for letter in letters)).hexdigest()[:16]
        write_letters(letters, storage.join(folder, f"{REPLAY_PREFIX}{digest}.jsonl"))
    return (
        f"{len(chosen.decisions):,} decisions written to {options.decisions_dir}, "
        f"{len(chosen.rewards):,} rewards to {options.rewards_dir}; the dead letters stay where they are"
    )


def _watermark_us(live: str | None) -> int | None:
    """Return the least watermark of the stream's snapshots. None without --live or before any event."""
    if live is None:
        return None
    found = [document["watermark"] for document in read_snapshots(live)]
    return min((parse_time(text) for text in found if text is not None), default=None)


def _sources_among(letters: Sequence[DeadLetter], files: Sequence[str]) -> set[str]:
    """Return the sources of letters that are among files, even if both are written differently."""
    named = {_whole(uri) for uri in files}
    return {letter.source for letter in letters if _whole(letter.source) in named}


def _whole(uri: str) -> str:
    return os.path.realpath(uri) if storage.is_local(uri) else posixpath.normpath(uri)


def _print_fates(chosen: Sorted) -> None:
    table = Table(title="dead letters", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("reason", no_wrap=True)
    table.add_column("records", justify="right", no_wrap=True)
    table.add_column("what becomes of them")
    for (reason, fate), count in sorted(chosen.fates.items()):
        table.add_row(reason, f"{count:,}", fate)
    Console().print(table)


def _check_bounded(arguments: Sequence[str]) -> None:
    """Raise BadUsage if the flags that replay passes on are wrong."""
    from pipelines.reward_stream.command import checked_options  # which runs this module

    checked_options(arguments, _PROGRAM)


def _bounded_run(arguments: Sequence[str]) -> None:
    from pipelines.reward_stream.command import count  # which runs this module

    count(arguments)
