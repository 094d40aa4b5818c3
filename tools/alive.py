"""Run a long command and print a line at least every ten seconds, so that a slow step does not look broken.

    python tools/alive.py [--keep=REGEX] LABEL COMMAND [ARGUMENT ...]

Of the command's stdout only the matches of REGEX are printed, without REGEX all of it. Stderr passes through. The exit
code is that of the command. The script runs before any package is installed, so it uses the standard library alone.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import TextIO

__all__ = ["EVERY_S", "main", "run"]

EVERY_S = 10.0


def run(command: Sequence[str], label: str, keep: str, out: TextIO, every_s: float = EVERY_S) -> int:
    """Run a command and return its exit code.

    Args:
        command: The command and its arguments.
        label: Starts the line that is printed when the command is silent.
        keep: Regular expression. A line of stdout is printed if it matches, cut to the match.
        out: Where to print.
        every_s: Longest silence in seconds.
    """
    pattern, started = re.compile(keep), time.monotonic()
    printed, ended = threading.Event(), threading.Event()

    def print_when_silent() -> None:
        while not ended.is_set():
            if not printed.wait(every_s):
                print(f"  {label}: {time.monotonic() - started:.0f} s …", file=out, flush=True)
            printed.clear()

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        watch = threading.Thread(target=print_when_silent, daemon=True)
        watch.start()
        assert process.stdout is not None
        for line in process.stdout:
            if found := pattern.search(line.rstrip("\n")):
                print(f"  {found[0].strip()}", file=out, flush=True)
                printed.set()
    ended.set()
    printed.set()
    watch.join()
    return process.returncode


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command of the arguments and return its exit code."""
    parser = argparse.ArgumentParser(prog="alive", description="run a command and print a line at least every 10 s")
    parser.add_argument("--keep", default=".+", help="print only the matches of this regular expression (default: all)")
    parser.add_argument("label", help="starts the line that is printed when the command is silent")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="the command and its arguments")
    options = parser.parse_args(argv)
    if not options.command:
        parser.error("the command is missing")
    try:
        return run(options.command, options.label, options.keep, sys.stdout)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
