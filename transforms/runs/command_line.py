"""Parse a pipeline's command line, choose its runner, and map errors to exit codes and the last line on stderr.

Each pipeline declares its own flags in its `options.py`.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import sysconfig
from collections.abc import Callable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import (
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineRunner

from recbeam.arguments import EXIT_CODES, Parser, closest
from transforms.errors import BadUsage, RecbeamError

__all__ = ["parse", "pipeline_for", "run_main", "runs_in_process"]

_IN_PROCESS = {"", "fnapirunner", "directrunner", "prismrunner", "bundlebaseddirectrunner"}
_BATCH_ONLY = "leave this flag out: the pipeline reads all of its input once and ends (default: off)"


def parse(
    argv: Sequence[str],
    kinds: Sequence[type[PipelineOptions]],
    prog: str,
    description: str,
    epilog: str = "",
    common: Sequence[str] = (),
    streaming: str = _BATCH_ONLY,
) -> PipelineOptions:
    """Parse a pipeline's command line; `--help` prints the flags and exits.

    Beam's own flags pass through. Runners with a job server (Flink, Spark, Dataflow) define more flags, so with such a
    runner an unknown flag passes through, too.

    Args:
        argv: The arguments.
        kinds: Option classes whose flags `--help` shows.
        prog: Name of the command in usage and errors.
        description: What the command does, in one or two sentences.
        epilog: Examples and notes below the flags. `%(prog)s` stands for the command's name.
        common: Names of the flags that people use first, in the order in which `--help` shows them. The other flags
            are shown below, in the group "advanced".
        streaming: What Beam's flag `--streaming` does in this pipeline.

    Returns:
        Beam's options, with the flags of `kinds`.

    Raises:
        BadUsage: A flag is unknown, the runner is unknown, or a remote runner's workers would lack the dependencies.
        SystemExit: A value is invalid (code 2), or `--help` is given (code 0).
    """
    parser = Parser(
        prog=prog, description=description, epilog=f"{epilog}\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    _add_flags(parser, kinds, common, streaming)
    _, others = parser.parse_known_args(list(argv))
    beams_own = Parser(prog=prog, add_help=False, conflict_handler="resolve", allow_abbrev=False)
    for kind in PipelineOptions.__subclasses__():
        if kind.__module__.startswith("apache_beam"):
            kind._add_argparse_args(beams_own)  # type: ignore[arg-type]
    _, unknown = beams_own.parse_known_args(others)
    options = PipelineOptions(list(argv))
    named = options.view_as(StandardOptions).runner or ""
    runner = named.rsplit(".", 1)[-1].lower()
    if unknown and runs_in_process(options):
        raise BadUsage(f"{prog}: {parser.unknown(unknown[0])}")
    _check_runner(prog, named)
    _check_remote(options, runner)
    FileSystems.set_options(options)
    return options


def _add_flags(
    parser: argparse.ArgumentParser, kinds: Sequence[type[PipelineOptions]], common: Sequence[str], streaming: str
) -> None:
    """Add the flags of option classes to the help's groups, and set the usage line."""
    collected = _Collected()
    for kind in kinds:
        kind._add_argparse_args(collected)  # type: ignore[arg-type]
    flags = collected.flags
    first = parser.add_argument_group("flags that people use first")
    for name in common:
        if name == "streaming":
            first.add_argument("--streaming", action="store_true", help=streaming)
        else:
            first.add_argument(f"--{name}", **flags[name])
    rest = [name for name in flags if name not in common]
    advanced = parser.add_argument_group("advanced") if rest and common else first
    for name in rest:
        advanced.add_argument(f"--{name}", **flags[name])
    beam_group = parser.add_argument_group("Beam's flags", "Every other flag of Beam and of its runners works, too.")
    beam_group.add_argument(
        "--runner",
        metavar="NAME",
        help="where the pipeline runs, for example FlinkRunner or DataflowRunner (default: in this process)",
    )
    if "streaming" not in common:
        beam_group.add_argument("--streaming", action="store_true", help=streaming)
    required = [
        f"--{name}={flag.get('metavar') or name.upper()}"
        for name, flag in flags.items()
        if str(flag.get("help", "")).endswith("required")
    ]
    parser.usage = " ".join(["%(prog)s", *required, "[--FLAG=VALUE ...]"])


class _Collected(argparse.ArgumentParser):
    """Collect the flags that option classes declare, so that help can group them in another order."""

    def __init__(self) -> None:
        super().__init__(add_help=False)
        self.flags: dict[str, dict[str, Any]] = {}

    def add_argument(self, *names: str, **settings: Any) -> argparse.Action:
        self.flags[names[0].removeprefix("--")] = settings
        return super().add_argument(*names, **settings)


def pipeline_for(options: PipelineOptions) -> beam.Pipeline:
    """Return an empty pipeline on the runner that `--runner` names, or on FnApiRunner in this process without one.

    Beam does not pickle the `__main__` module for the workers.

    Args:
        options: Beam's options. `save_main_session` is set to False in them.
    """
    options.view_as(SetupOptions).save_main_session = False
    standard = options.view_as(StandardOptions)
    runner: PipelineRunner | str = standard.runner or FnApiRunner()
    if standard.runner == "PrismRunner":
        portable = options.view_as(PortableOptions)
        portable.environment_type = portable.environment_type or "LOOPBACK"
        own = os.path.join(sysconfig.get_path("scripts"), "prism")
        if os.path.exists(own) and "prism_location" not in options.get_all_options(drop_default=True):
            options = PipelineOptions.from_dictionary(
                options.get_all_options(drop_default=True) | {"prism_location": own}
            )
    return beam.Pipeline(runner=runner, options=options)


def run_main(body: Callable[[], str]) -> int:
    """Run a command, print its closing sentence on stderr, and map the project's errors to exit codes.

    Errors that are not the project's own pass through, because they are defects.

    Args:
        body: The command. It returns its closing sentence, or an empty string for none.

    Returns:
        The exit code: 0 done, 2 bad usage, 3 bad input, 4 refused, 1 anything else.
    """
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    try:
        if sentence := body():
            print(sentence, file=sys.stderr)
    except RecbeamError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except SystemExit as stopped:  # the parser has printed why
        return stopped.code if isinstance(stopped.code, int) else 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"{where}{error.strerror or error}; check the path, its permissions and the free space", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing was published. Run the same command again", file=sys.stderr)
        return 1
    return 0


def _check_runner(prog: str, named: str) -> None:
    """Raise BadUsage for a runner that Beam does not have; a dotted name is a class, which Beam imports."""
    known = StandardOptions.KNOWN_RUNNER_NAMES
    if named and "." not in named and not {named.lower(), f"{named.lower()}runner"} & {name.lower() for name in known}:
        close = closest(named, known)
        hint = f"; did you mean {close}?" if close else ""
        raise BadUsage(f"{prog}: --runner={named} is not a choice{hint} (choices: {', '.join(known)})")


def runs_in_process(options: PipelineOptions) -> bool:
    """Return whether the runner's workers run on this machine, in this process or started by it."""
    return (options.view_as(StandardOptions).runner or "").rsplit(".", 1)[-1].lower() in _IN_PROCESS


def _check_remote(options: PipelineOptions, runner: str) -> None:
    """Raise BadUsage if workers elsewhere would lack recbeam's dependencies; `--setup_file` does not install them."""
    if runs_in_process(options) or runner == "interactiverunner":
        return
    portable, setup = options.view_as(PortableOptions), options.view_as(SetupOptions)
    if portable.environment_type in ("LOOPBACK", "EMBEDDED_PYTHON") or "dask" in runner:
        return
    if not (options.view_as(WorkerOptions).sdk_container_image or setup.requirements_file or portable.environment_type):
        raise BadUsage(
            f"--runner={options.view_as(StandardOptions).runner}: the workers need recbeam's dependencies; pass "
            "--sdk_container_image or --requirements_file=requirements/worker.txt (with --setup_file=./setup.py)"
        )
