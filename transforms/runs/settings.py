"""Read the settings of every batch pipeline's run: where it writes, and the options that run.json records."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

__all__ = ["RunSettings", "run_settings"]


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """The output of a run, as plain values.

    Args:
        output: Folder of the output.
        overwrite: Replace what the folder holds.
        model_dir: Folder that gets the model as a new version. None publishes nothing.
        options: The options that decide the content of the output, by name. run.json records them, and a rerun with
            equal options and inputs is already done.
    """

    output: str
    overwrite: bool
    model_dir: str | None
    options: Mapping[str, Any]


def run_settings(
    options: PipelineOptions, kinds: Sequence[type[PipelineOptions]], unrecorded: Collection[str]
) -> RunSettings:
    """Read the flags that every batch pipeline has.

    Args:
        options: The parsed command line.
        kinds: The classes that declare the pipeline's flags. The last one declares `--output` and `--overwrite`.
        unrecorded: Flags that do not decide the content of the output, beside `output`, `overwrite` and `model_dir`.
            run.json also records `interactions` as the digests of the inputs, and `as_of` as a field of its own.

    Returns:
        The settings.
    """
    left_out = {"output", "overwrite", "model_dir", "interactions", "as_of", *unrecorded}
    named: dict[str, Any] = {}
    for kind in kinds:
        parser = argparse.ArgumentParser()
        kind._add_argparse_args(parser)  # type: ignore[arg-type]
        view = options.view_as(kind)
        named |= {action.dest: getattr(view, action.dest) for action in parser._actions if action.dest != "help"}
    recorded = {name: value for name, value in sorted(named.items()) if name not in left_out}
    return RunSettings(named["output"] or "", named["overwrite"], named.get("model_dir"), recorded)
