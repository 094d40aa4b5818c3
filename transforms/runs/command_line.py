"""How every pipeline's command line behaves: flags, runner, exit codes, and the last line on stderr.

What the flags mean is each pipeline's business.
"""

from __future__ import annotations

import argparse
import difflib
import logging
import os
import sys
import sysconfig
from collections.abc import Callable, Sequence

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

from transforms.errors import BadUsage, RecbeamError

__all__ = ["parse", "pipeline_for", "run_main"]

_IN_PROCESS = {"", "fnapirunner", "directrunner", "prismrunner", "bundlebaseddirectrunner"}


def parse(
    argv: Sequence[str], kinds: Sequence[type[PipelineOptions]], prog: str, description: str, epilog: str = ""
) -> PipelineOptions:
    """The flags as options; `--help` shows those of `kinds` and exits. Beam's own pass through.

    Raises BadUsage for a flag that nobody knows; runners with a job server (Flink, Spark, Dataflow) have flags of their
    own, so there it goes through.
    """
    parser = argparse.ArgumentParser(
        prog=prog, description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )  # fmt: skip
    for kind in kinds:
        kind._add_argparse_args(parser.add_argument_group((kind.__doc__ or kind.__name__).rstrip(".")))  # type: ignore[arg-type]
    _, others = parser.parse_known_args(list(argv))
    beams_own = argparse.ArgumentParser(add_help=False, conflict_handler="resolve", allow_abbrev=False)
    for kind in PipelineOptions.__subclasses__():
        if kind.__module__.startswith("apache_beam"):
            kind._add_argparse_args(beams_own)  # type: ignore[arg-type]
    _, unknown = beams_own.parse_known_args(others)
    options = PipelineOptions(list(argv))
    runner = (options.view_as(StandardOptions).runner or "").rsplit(".", 1)[-1].lower()
    if unknown and runner in _IN_PROCESS:
        known = [flag for action in parser._actions for flag in action.option_strings]
        close = difflib.get_close_matches(unknown[0].split("=")[0], known, 1)
        hint = f"did you mean {close[0]}?" if close else "see --help"
        raise BadUsage(f"{prog}: unknown argument {unknown[0]}; {hint}")
    _check_remote(options, runner)
    FileSystems.set_options(options)
    return options


def pipeline_for(options: PipelineOptions) -> beam.Pipeline:
    """A pipeline on the runner asked for; without one, in process on FnApiRunner. Nothing is pickled from __main__."""
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
    """Run a command; its closing sentence, if it has one, goes to stderr.

    The project's own errors become exit codes, others pass.
    """
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    try:
        if sentence := body():
            print(sentence, file=sys.stderr)
    except RecbeamError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except SystemExit as stopped:  # argparse has said why
        return stopped.code if isinstance(stopped.code, int) else 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"{where}{error.strerror or error}; check the path, its rights and the space left", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing was published, run the same command again", file=sys.stderr)
        return 1
    return 0


def _check_remote(options: PipelineOptions, runner: str) -> None:
    """Workers elsewhere need the project's dependencies, which `--setup_file` does not bring."""
    if runner in _IN_PROCESS or runner == "interactiverunner":
        return
    portable, setup = options.view_as(PortableOptions), options.view_as(SetupOptions)
    if portable.environment_type in ("LOOPBACK", "EMBEDDED_PYTHON") or "dask" in runner:
        return
    if not (options.view_as(WorkerOptions).sdk_container_image or setup.requirements_file or portable.environment_type):
        raise BadUsage(
            f"--runner={options.view_as(StandardOptions).runner}: workers need recbeam's dependencies; pass "
            "--sdk_container_image or --requirements_file=requirements/worker.txt (with --setup_file=./setup.py)"
        )
