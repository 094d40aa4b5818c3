"""What is remembered of Beam is what Beam computes."""

from __future__ import annotations

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, TypeOptions
from apache_beam.transforms import core

from tests import faster_beam


class Keyed(beam.DoFn):
    def process(self, element, *, at=beam.DoFn.TimestampParam, key=beam.DoFn.KeyParam):
        yield element


class Timed(Keyed):
    def process(self, element, at=beam.DoFn.TimestampParam):
        yield element


def test_a_kept_view_sees_changes_and_belongs_to_its_options_alone() -> None:
    one, other = PipelineOptions(["--runtime_type_check"]), PipelineOptions([])
    for _ in range(2):
        assert faster_beam.view_as(one, TypeOptions).runtime_type_check is True
        assert faster_beam.view_as(other, TypeOptions).runtime_type_check is False
    faster_beam._view_as(other, TypeOptions).runtime_type_check = True
    assert faster_beam.view_as(other, TypeOptions).runtime_type_check is True
    other._all_options = {**other._all_options, "runtime_type_check": False}
    assert faster_beam.view_as(other, TypeOptions).runtime_type_check is False


def test_kept_arguments_are_those_of_the_method_and_a_caller_may_change_them() -> None:
    functions = [Keyed().process, Timed().process, Keyed().setup, Timed().setup, len, lambda element, other=3: element]
    for _ in range(2):
        for function in functions:
            names, defaults = faster_beam.arguments(function)
            assert (names, defaults) == faster_beam._arguments(function)
            names.append("changed")
            defaults.append("changed")


def test_tests_run_with_what_is_remembered() -> None:
    assert PipelineOptions.view_as is faster_beam.view_as
    assert core.get_function_args_defaults is faster_beam.arguments
