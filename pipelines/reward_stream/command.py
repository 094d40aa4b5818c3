"""The command line of reward_stream: flags to a run, the run to a closing sentence; inspect and replay beside it."""

from __future__ import annotations

import importlib
import logging
import sys
import threading
import time
from collections.abc import Sequence

import grpc

from pipelines.reward_stream.options import RewardStreamOptions, check
from pipelines.reward_stream.run import StreamResult, run
from transforms.errors import BadInput, BadUsage
from transforms.runs.command_line import parse, run_main

__all__ = ["main"]

_SUBCOMMANDS = ("inspect", "replay")
_EXAMPLE = """\
Beside it: reward-stream inspect DEST, and reward-stream replay; each has a --help of its own.

examples:
  reward-stream --bandits=bandits.yaml --decisions='logs/decisions/*' --rewards='logs/rewards/*' \\
      --snapshots=out/snapshots --dead_letters=out/dead_letters
  reward-stream … --streaming --state=out/state --metrics_port=9464

SIGTERM or Ctrl-C ends a stream: it saves its state, publishes, and closes no window; the same command goes on.

exit code: 0 done; 2 bad usage; 3 bad input; 4 refused, such as another run that publishes there; 1 anything else
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 done, 2 bad usage, 3 bad input, 4 refused, 1 anything else."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if argv is None and "--verbose" not in arguments:  # a process of its own
        threading.excepthook = _without_closed_channels
    if arguments and arguments[0] in _SUBCOMMANDS:
        code: int = importlib.import_module(f"pipelines.reward_stream.{arguments[0]}.command").main(arguments[1:])
        return code
    return run_main(lambda: _run(arguments))


def _without_closed_channels(args: threading.ExceptHookArgs) -> None:
    """Beam's threads listen to a runner that has ended; what they say of it would stand below the closing sentence."""
    if not (args.exc_type is not None and issubclass(args.exc_type, grpc.RpcError)):
        threading.__excepthook__(args)


def _run(argv: Sequence[str]) -> str:
    _set_up_logging(verbose="--verbose" in argv)  # first: Beam's options set up a handler that prints all
    options = parse(
        argv,
        (RewardStreamOptions,),
        "reward-stream",
        "Decisions and rewards to arm statistics: all there is, or with --streaming whatever comes, until stopped. "
        "The runner's own flags (--runner and so on) are taken, too.",
        _EXAMPLE,
    )
    view = options.view_as(RewardStreamOptions)
    problems = check(view)
    if problems:
        raise BadUsage("\n".join(problems))
    return _closing(run(options, lambda: time.time_ns() // 1000), view)


def _set_up_logging(*, verbose: bool) -> None:
    """Our own warnings go to stderr as they are; the runner's talk, which is long, only if asked for.

    A worker's error is told by the closing sentence.
    """
    ours, root = logging.getLogger("pipelines.reward_stream"), logging.getLogger()
    if not ours.handlers:
        shown = logging.StreamHandler()
        # On a terminal the line that is written over goes first.
        shown.setFormatter(logging.Formatter("\r\x1b[K%(message)s" if sys.stderr.isatty() else "%(message)s"))
        ours.addHandler(shown)
        ours.setLevel(logging.INFO)
        ours.propagate = False
    if verbose:
        logging.basicConfig(level=logging.INFO)
        logging.getLogger("apache_beam").setLevel(logging.INFO)
        return
    root.addHandler(logging.NullHandler())
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)


def _closing(result: StreamResult, view: RewardStreamOptions) -> str:
    """The last line; raises BadInput where a bounded run found no record."""
    status = result.status
    versions = ", ".join(f"{name} version {written.version}" for name, written in sorted(status.versions.items()))
    if not versions:
        if not view.streaming and not status.records_read:
            raise BadInput(f"--decisions={view.decisions}, --rewards={view.rewards}: no record in any file; check them")
        return f"{'stopped' if result.stopped else 'done'}: {view.snapshots} has what was published, if anything was"
    said = f"{status.records_read:,} records read, {status.dead_letters:,} dead letters; {view.snapshots}: {versions}"
    if result.stopped and view.state:
        return f"stopped: {said}; the same command goes on from here"
    return f"{'stopped' if result.stopped else 'done'}: {said}"
