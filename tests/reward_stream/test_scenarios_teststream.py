"""Every scenario on the runner that has TestStream: the real steps, fed in the order of the input or in any other.

The Sequencer reads the delivered files with a clock that is moved by hand. What it says at a step of the axis is cut
into bundles, shuffled and in part repeated, between moves of processing time and watermark.
"""

from __future__ import annotations

import pathlib
import random
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.testing import test_stream
from apache_beam.utils.timestamp import Timestamp

from pipelines.reward_stream.publishing.messages import keyed_message
from pipelines.reward_stream.publishing.versions import Pace
from pipelines.reward_stream.sources.config import SOURCES, SequencerConfig
from pipelines.reward_stream.sources.sequencer import NumberedBlocks, Sequencer
from pipelines.reward_stream.steps.join_shards import JoinShards
from pipelines.reward_stream.steps.publish import Publish, PublishConfig
from serving_client.contracts.times import parse_duration
from tests.reward_stream.reading import Clock, settle
from tests.reward_stream.scenarios import SCENARIOS
from tests.reward_stream.stages import Stage, bandits_file, check, lines_of
from tests.reward_stream.staging import HELD, SILENT, START_US, STEADY, Axis, Scenario

SHARDS = 2
PATIENCE_S = 30.0

Element = tuple[str, int, bytes]
"""A block of a shard, or a report."""


def spoken(stage: Stage, axis: Axis, scenarios: Sequence[Scenario]) -> list[list[NumberedBlocks]]:
    """What the Sequencer says at each step, and at last that all is over."""
    clock = Clock(START_US + 3_600_000_000)
    stage.bandits.write_bytes(bandits_file(scenarios, 0))
    settings: dict[str, Any] = {f"{name}_us": parse_duration(text) for name, text in axis.settings.items()}
    if "idle_after_us" in settings:
        settings["idle_after_us"] = dict.fromkeys(SOURCES, settings["idle_after_us"])
    config = SequencerConfig(
        decisions=f"{stage.folder}/decisions/*.jsonl",
        rewards=f"{stage.folder}/rewards/*.jsonl",
        bandits=str(stage.bandits),
        bandits_data=stage.bandits.read_bytes(),
        shards=SHARDS,
        stop_when_idle_us=round(PATIENCE_S * 1e6),
        bandits_poll_us=500_000,
        **settings,
    )
    sequencer, said = Sequencer(config, clock), []
    for number, step in enumerate(axis.steps):
        clock.pass_s(max(0.0, step.pause_s - 1.0))
        stage.bandits.write_bytes(bandits_file(scenarios, number))
        clock.pass_s(0.5)
        before = settle(sequencer)
        stage.deliver(number, lines_of(axis, scenarios, number))
        clock.pass_s(0.5)
        now = settle(sequencer)
        clock.pass_s(1.0)
        said.append(before + now + settle(sequencer))
    clock.pass_s(PATIENCE_S)
    said.append(settle(sequencer))
    assert sequencer.ended
    return said


def elements(batches: Sequence[NumberedBlocks]) -> Iterator[Element]:
    for batch in batches:
        yield from (("block", shard, data) for shard, data in enumerate(batch.blocks))
        if batch.report is not None:
            yield "report", 0, keyed_message(batch.report)[1]


def streamed(said: Sequence[Sequence[NumberedBlocks]], rng: random.Random, *, shuffled: bool) -> test_stream.TestStream:
    stream, holding_us = test_stream.TestStream(), 0
    for batches in said:
        one = list(elements(batches))
        if shuffled:
            one += [element for element in one if rng.random() < 0.3]
            rng.shuffle(one)
        while one:
            size = rng.randrange(1, 12)
            stream.add_elements(one[:size])
            stream.advance_processing_time(1)
            del one[:size]
        if batches and batches[-1].holding_us > holding_us:
            holding_us = batches[-1].holding_us
            stream.advance_watermark_to(Timestamp(micros=holding_us))
    return stream.advance_watermark_to_infinity()


def run(stage: Stage, said: Sequence[Sequence[NumberedBlocks]], rng: random.Random, *, shuffled: bool) -> None:
    """The wiring of pipelines.reward_stream.pipeline, with TestStream in place of the source."""
    bandits = stage.bandits.read_bytes()
    publishing = PublishConfig(
        run_id=uuid.uuid4().hex,
        bandits=bandits,
        snapshots=str(stage.folder / "snapshots"),
        dead_letters=str(stage.folder / "letters"),
        shards=SHARDS,
        pace=Pace(publish_interval_us=0, heartbeat_us=0),
    )
    options = PipelineOptions([])
    options.view_as(StandardOptions).streaming = True
    with beam.Pipeline(BundleBasedDirectRunner(), options=options) as root:
        fed = root | streamed(said, rng, shuffled=shuffled)
        blocks = fed | "TakeBlocks" >> beam.FlatMap(_blocks).with_output_types(tuple[int, bytes])
        reports = fed | "TakeReports" >> beam.FlatMap(_reports).with_output_types(tuple[bytes, bytes])
        steps = blocks | "JoinShards" >> JoinShards(bandits)
        _ = (steps, reports) | beam.Flatten() | "Publish" >> Publish(publishing)


def _blocks(element: Element) -> Iterator[tuple[int, bytes]]:
    if element[0] == "block":
        yield element[1:]


def _reports(element: Element) -> Iterator[tuple[bytes, bytes]]:
    if element[0] == "report":
        yield b"publish", element[2]


def act(folder: pathlib.Path, axis: Axis, scenarios: Sequence[Scenario], *, shuffled: bool) -> None:
    stage = Stage(folder)
    said = spoken(stage, axis, scenarios)
    stage.bandits.write_bytes(bandits_file(scenarios, 0))  # as the run begins
    run(stage, said, random.Random(axis.name + scenarios[0].name), shuffled=shuffled)
    check(stage, axis, scenarios)


@pytest.mark.parametrize(("axis", "scenario"), [pytest.param(*each, id=each[1].name) for each in SCENARIOS])
def test_a_rule_holds_in_whatever_order_a_runner_delivers_and_repeats(
    tmp_path: pathlib.Path, axis: Axis, scenario: Scenario
) -> None:
    act(tmp_path / "stage", axis, [scenario], shuffled=True)


@pytest.mark.parametrize("axis", [STEADY, SILENT, HELD], ids=[STEADY.name, SILENT.name, HELD.name])
def test_all_rules_hold_side_by_side_in_the_order_of_the_input(tmp_path: pathlib.Path, axis: Axis) -> None:
    act(tmp_path / "stage", axis, [scenario for on, scenario in SCENARIOS if on is axis], shuffled=False)
