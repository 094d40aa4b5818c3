"""Print the head and the tables of the serving benchmarks as plain text, without rich."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from transforms.runs.run_record import code_version

__all__ = ["head", "table"]


def head(packages: Sequence[str]) -> str:
    """Where and with what, three lines."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return (
        f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores; {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}; load at start {os.getloadavg()[0]:.2f}\n"
        f"{versions}\nrecbeam {code_version()}"
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1) -> str:
    """Columns as wide as their widest cell; the first `names` to the left, the others, numbers, to the right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        left = [cell.ljust(width) for cell, width in zip(cells[:names], widths, strict=False)]
        right = [cell.rjust(width) for cell, width in zip(cells[names:], widths[names:], strict=True)]
        return "  ".join([*left, *right]).rstrip()

    return "\n".join([line(header), "  ".join("-" * width for width in widths), *map(line, rows)])
