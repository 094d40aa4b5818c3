"""Flags to a format: every value, every problem, and the units of --since and --until."""

from __future__ import annotations

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from transforms.errors import BadUsage
from transforms.interactions.format import InteractionFormat
from transforms.interactions.options import InteractionOptions, check_options, interaction_format, interaction_globs


def options(*flags: str) -> PipelineOptions:
    return PipelineOptions(["--interactions=x", *flags])


def test_no_flags_are_the_formats_defaults() -> None:
    assert check_options(options()) == []
    assert interaction_format(options()) == InteractionFormat()
    assert options().view_as(InteractionOptions).max_bad_fraction == 0.01


def test_every_flag_reaches_the_format() -> None:
    flags = [
        "--input_format=csv",
        "--csv_delimiter=\\t",
        "--csv_header=u,i,w,t",
        "--null_text=NULL",
        "--user_column=u",
        "--item_column=i",
        "--timestamp_column=t",
        "--weight_column=w",
        "--timestamp_unit=ms",
        "--min_weight=2",
        "--since=1970-01-01T00:00:01Z",
        "--until=2",
    ]
    assert interaction_format(options(*flags)) == InteractionFormat(
        "csv", "\t", ("u", "i", "w", "t"), "NULL", "u", "i", "t", "w", "ms", 2.0, 1_000_000, 2_000_000
    )


@pytest.mark.parametrize("text", ["tab", "\\t", "\t"])
def test_a_tabulator_can_be_written_three_ways(text: str) -> None:
    assert interaction_format(options(f"--csv_delimiter={text}")).csv_delimiter == "\t"


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("--csv_delimiter=ab", "--csv_delimiter='ab' is not one ASCII character"),
        ("--csv_delimiter=é", "is not one ASCII character"),
        ('--csv_delimiter="', "is not one ASCII character"),
        ("--csv_header=user_id,x", "--csv_header=user_id,x has no column item_id (it has user_id, x)"),
        ("--csv_header=user_id,item_id,user_id", "names user_id twice"),
        ("--csv_header=user,item_id,client_id", "user or --user_column=client_id"),
        ("--user_column=", "--user_column= is empty"),
        ("--since=yesterday", "--since=yesterday is neither epoch seconds nor RFC 3339"),
        ("--min_weight=nan", "--min_weight=nan is not a finite number"),
        ("--min_weight=-1", "--min_weight=-1.0 is not a finite number of at least 0"),
        ("--max_bad_fraction=2", "--max_bad_fraction=2.0 is not between 0 and 1"),
    ],
)
def test_a_flag_that_makes_no_sense_is_named(flag: str, says: str) -> None:
    [problem] = check_options(options(flag))
    assert says in problem
    with pytest.raises(BadUsage):
        interaction_format(options(flag))


def test_since_after_until_is_refused() -> None:
    assert "lies after --until=1" in check_options(options("--since=2", "--until=1"))[0]


def test_a_filter_needs_the_column_that_an_empty_name_leaves_out() -> None:
    assert (
        "--since needs a column that --timestamp_column= leaves out"
        in check_options(options("--since=2", "--timestamp_column="))[0]
    )


def test_interactions_are_required_and_split_at_commas() -> None:
    assert interaction_globs(PipelineOptions(["--interactions=a,b[,]c"])) == ["a", "b[,]c"]
    with pytest.raises(BadUsage, match="--interactions is missing"):
        interaction_globs(PipelineOptions([]))
    assert check_options(PipelineOptions([]))[0].startswith("--interactions is missing")
