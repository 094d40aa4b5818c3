"""Trace data, runs, models, versions and snapshots: `recbeam lineage`. It reads run records and writes nothing else."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from rich.console import Console

from recbeam.arguments import EXIT_CODES, Parser
from transforms.errors import BadInput
from transforms.files import storage
from transforms.lineage.build import build
from transforms.lineage.finding import Finder, place_of
from transforms.lineage.graph import Graph, downstream, nodes_at, shorten, upstream
from transforms.lineage.report import render
from transforms.lineage.text import print_tree
from transforms.runs.command_line import run_main

__all__ = ["main"]

_WIDE = 1000
"""Characters per line where stdout is no terminal."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments. None means those of the process.

    Returns:
        The exit code: 0 done, 2 bad usage, 3 bad input or a digest that does not match, 1 anything else.
    """
    return run_main(lambda: _lineage(list(sys.argv[1:] if argv is None else argv)))


def _lineage(argv: Sequence[str]) -> str:
    options = _parser().parse_args(argv)
    target = options.upstream or options.downstream
    FileSystems.set_options(PipelineOptions([]))
    paths = options.paths or ["."]
    places = [place_of(path) for path in paths]
    for path, place in zip(paths, places, strict=True):
        if not (os.path.exists(place) if storage.is_local(place) else storage.list_files(place)):
            raise BadInput(f"{path}: does not exist; name folders of runs and of published models")
    graph = build(Finder([*places, *([place_of(target)] if target else [])]), options.check)
    question = f"Everything below {', '.join(options.paths) or 'this folder'}"
    if target:
        keys = nodes_at(graph, place_of(target))
        if not keys:
            raise BadInput(
                f"{target}: is no input or output of a run below {', '.join(paths)}; name the folders of the runs, too"
            )
        graph = (upstream if options.upstream else downstream)(graph, keys)
        question = f"What {target} came from" if options.upstream else f"What was made of {target}"
    if not graph.nodes:
        raise BadInput(f"{', '.join(paths)}: holds no run.json, model version or snapshot; name folders of runs")
    graph = shorten(graph, os.getcwd())
    if options.text or not options.output:
        print_tree(graph, Console(width=None if sys.stdout.isatty() else _WIDE), upward=bool(options.upstream))
    if options.output:
        with storage.write_whole(options.output) as file:
            file.write(render(graph, question, options.check).encode())
    return _closing(graph, options.check, options.output)


def _closing(graph: Graph, check: bool, output: str | None) -> str:
    """Return the last line. Raise BadInput if --check found a difference."""
    flags = [flag for node in graph.nodes.values() for flag in node.flags]
    wrong = [flag for flag in flags if flag.kind in ("digest", "missing")]
    if check and wrong:
        raise BadInput(f"{wrong[0].text} ({len(wrong)} in all); restore the files, or run again what read them")
    look = f"look at {output}; " if output else ""
    checked = "digests match" if check else "sizes and times were compared; --check compares digests"
    doubts = f"{len(flags)} doubts" if len(flags) != 1 else "1 doubt"
    return f"{look}{len(graph.nodes)} nodes, {doubts}; {checked}"


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="recbeam lineage",
        description="Show which data, runs and models a result came from, and what was made of a file. Reads the "
        "run.json of every run, the model card of every published version, and the newest snapshots.",
        epilog="Flags of a node: missing (a file is gone), changed (a file is not the one that was read), stale (a "
        "newer version exists, or the input was rebuilt), digest (--check found another content).\n\nexamples:\n"
        "  %(prog)s out models\n"
        "  %(prog)s out models --upstream=models/cf/1767225600\n"
        "  %(prog)s out models --downstream=logs/day1.parquet --output=lineage.html\n\n"
        f"{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "paths", metavar="PATH", nargs="*", help="folders to search, local, s3:// or gs:// (default: this folder)"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--upstream", metavar="PATH", help="show only what this version, model, run or file came from")
    which.add_argument("--downstream", metavar="PATH", help="show only what was made of this file, run or model")
    parser.add_argument(
        "--check",
        action="store_true",
        help="compare the digest of every file; exit code 3 if one differs or is missing",
    )
    parser.add_argument("--output", metavar="FILE.html", help="write a page with the picture instead of text")
    parser.add_argument("--text", action="store_true", help="print text, also with --output")
    return parser


if __name__ == "__main__":
    sys.exit(main())
