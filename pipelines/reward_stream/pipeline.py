"""Build the pipeline of reward_stream: decisions and rewards to arm statistics, as a stream and as a batch.

    ReadStream | ReadFiles -> JoinShards -> Publish

Reading parses lines to columns, sorts out malformed, future and late records, and divides each chunk into one block per
shard of decision ids. A shard holds the open decisions and emits, tick by tick, what its rows gained. Publishing adds
up the shards and writes dead letters, snapshots and checkpoints. All rules are in transforms.attribution.
"""

from __future__ import annotations

import apache_beam as beam
from apache_beam.pvalue import PCollection

from pipelines.reward_stream.sources.config import SequencerConfig
from pipelines.reward_stream.steps.join_shards import JoinShards
from pipelines.reward_stream.steps.publish import Publish, PublishConfig
from pipelines.reward_stream.steps.read_files import ReadFiles
from pipelines.reward_stream.steps.read_stream import ReadStream

__all__ = ["build"]


def build(
    root: beam.Pipeline, reading: SequencerConfig, publishing: PublishConfig, *, streaming: bool
) -> PCollection[str]:
    """Build the whole pipeline.

    Args:
        root: The empty pipeline.
        reading: Settings of the reader.
        publishing: Settings of the publisher.
        streaming: Whether to build the stream or the batch.

    Returns:
        One sentence per published version.
    """
    read = root | "Read" >> (ReadStream(reading) if streaming else ReadFiles(reading))
    results = read.blocks | "JoinShards" >> JoinShards(reading.bandits_data)
    messages = (results, read.reports) | "FlattenMessages" >> beam.Flatten()
    published: PCollection[str] = messages | "Publish" >> Publish(publishing)
    return published
