"""Show the progress of a run on a terminal: one line that is overwritten."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
from collections.abc import Callable, Iterator

from pipelines.reward_stream.monitoring.status import Status
from pipelines.reward_stream.totals.counters import STREAM
from serving_client.contracts.times import format_time

__all__ = ["line", "watching"]

_REFRESH_S = 1.0
_LOG_S = 60.0


def line(status: Status, now_us: int, per_second: float, *, streaming: bool) -> str:
    """Return the progress line: records read, records per second, lag, pending decisions, last versions."""
    if not streaming:
        return "reading and joining"
    if not status.ticks:
        return "starting"
    parts = [f"{status.records_read:,} records ({per_second:,.0f}/s)"]
    if status.watermark_us is not None:
        parts.append(f"lag {_span((now_us - status.watermark_us) / 1e6)}")
    if status.pending is not None:
        parts.append(f"{status.pending:,} pending")
    if status.held:
        parts.insert(0, "catching up with the last snapshot")
    if status.dead_letters:
        parts.append(f"{status.dead_letters:,} dead letters")
    parts += [f"{name} v{written.version}" for name, written in status.versions.items() if name != STREAM]
    return ", ".join(parts)


@contextlib.contextmanager
def watching(status: Status, clock: Callable[[], int], *, streaming: bool) -> Iterator[None]:
    """Show the line on stderr while the block runs. If stderr is no terminal, log it once a minute."""
    terminal = sys.stderr.isatty()
    if not terminal and not streaming:
        yield
        return
    over = threading.Event()

    def show() -> None:
        read, then_us = 0, clock()
        while not over.wait(_REFRESH_S if terminal else _LOG_S):
            now_us = clock()
            per_second = (status.records_read - read) / max((now_us - then_us) / 1e6, 1e-3)
            read, then_us = status.records_read, now_us
            if not terminal:
                said = line(status, now_us, per_second, streaming=streaming)
                print(f"{format_time(now_us)} {said}", file=sys.stderr, flush=True)
                continue
            # A line that wraps cannot be written over.
            said = line(status, now_us, per_second, streaming=streaming)[: shutil.get_terminal_size().columns - 1]
            sys.stderr.write(f"\r\x1b[K{said}")
            sys.stderr.flush()

    watcher = threading.Thread(target=show, name="progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join(timeout=2 * _REFRESH_S)
        if terminal:
            sys.stderr.write("\r\x1b[K")


def _span(seconds: float) -> str:
    """Format a time span briefly: 4s, 12m, 3.5h, 20d."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g}{unit}"
    return f"{seconds:.1f}s"
