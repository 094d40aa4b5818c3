"""Every mistake of a command line is named, all at once."""

from __future__ import annotations

from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.reward_stream.options import check, stream_settings

GOOD = {
    "bandits": "b.yaml",
    "decisions": "d/*",
    "rewards": "r/*",
    "snapshots": "out/snapshots",
    "dead_letters": "out/dead",
}


def options(streaming: bool = False, **flags: str) -> PipelineOptions:
    given = [f"--{name}={value}" for name, value in {**GOOD, **flags}.items() if value]
    return PipelineOptions(given + ["--streaming"] * streaming)


def test_a_good_command_line_has_no_problems() -> None:
    assert check(options()) == []
    assert check(options(streaming=True, state="out/state", stop_when_idle="5m", metrics_port="0")) == []


def test_each_problem_is_a_sentence_that_names_the_flag() -> None:
    for flags, sentence in (
        ({"bandits": ""}, "--bandits is missing; pass the bandits file"),
        ({"publish_interval": "soon"}, "--publish_interval=soon: 'soon' is not a duration"),
        ({"poll_interval": "0s"}, "--poll_interval=0s: must be greater than 0"),
        ({"bandits_poll": "0ms"}, "--bandits_poll=0ms: must be greater than 0"),
        ({"decisions": "kafka://h:1/t"}, "--decisions=kafka://h:1/t: kafka:// is not supported yet"),
        ({"snapshots": "ftp://x"}, "--snapshots=ftp://x: ftp:// is not supported for snapshots"),
        (
            {"idle_after": "clicks=6h"},
            "--idle_after=clicks=6h: clicks is not a source; write decisions=DURATION or rew",
        ),
        ({"idle_after": "rewards=soon"}, "--idle_after=rewards=soon: 'soon' is"),
        ({"max_bad_fraction": "2"}, "--max_bad_fraction=2.0 is not between 0 and 1"),
        ({"shards": "0"}, "--shards=0 is not between 1 and 1024"),
        ({"metrics_port": "70000"}, "--metrics_port=70000 is not between 0 and 65535"),
        ({"state": "out/state"}, "--state works only with --streaming"),
        ({"stop_when_idle": "5s"}, "--stop_when_idle works only with --streaming"),
        ({"dead_letters": "out/snapshots/"}, "name the same folder; give each its own"),
    ):
        problems = check(options(**flags))
        assert len(problems) == 1 and sentence in problems[0], (flags, problems)


def test_all_problems_are_named_at_once() -> None:
    assert len(check(options(bandits="", rewards="", shards="0"))) == 3


def test_durations_are_microseconds() -> None:
    assert stream_settings(options()).publishing.pace.publish_interval_us == 10_000_000
    assert stream_settings(options(poll_interval="250ms")).reading.poll_interval_us == 250_000


def test_idle_after_holds_for_both_sources_or_for_the_one_that_it_names() -> None:
    minute = 60_000_000
    for text, decisions, rewards in (
        ("5m", 5, 5), ("rewards=6h", 5, 360), ("2m,rewards=6h", 2, 360), ("decisions=1h,rewards=6h", 60, 360),
    ):  # fmt: skip
        idle_us = stream_settings(options(streaming=True, idle_after=text)).reading.idle_after_us
        assert idle_us == {"decisions": decisions * minute, "rewards": rewards * minute}, text
    problems = check(options(streaming=True, idle_after="rewards=25h"))
    assert len(problems) == 1 and "rewards may be silent for longer than --max_hold=24h" in problems[0]
    assert check(options(streaming=True, idle_after="rewards=25h", max_hold="48h")) == []


def test_workers_of_a_job_server_run_here_with_a_loopback_environment_alone() -> None:
    for flags, here in (
        ({}, True),
        ({"runner": "PrismRunner"}, True),
        ({"runner": "FlinkRunner"}, False),
        ({"runner": "FlinkRunner", "environment_type": "LOOPBACK"}, True),
    ):
        assert stream_settings(options(**flags)).workers_here is here, flags
