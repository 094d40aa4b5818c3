"""Measure the time of a training step at a large catalogue, the cost of the rest of a run, and the peak memory.

First vae_train runs for one epoch as a user runs it. This gives the rows per second of the feature pipeline, its share
of the time, and the largest resident set. Then this process runs steps of the model and of the plain dense Mult-VAE
(benchmarks/vae/reference.py) on the same batches. With the same weights, both must give the same scores. They take
turns step by step, so that a slow phase of the machine affects both. First steps (tracing, oneDNN's choice of kernels)
and the input pipeline are timed separately.

    python benchmarks/vae_speed.py --data gowalla/train.parquet --reading='--user_column=user --item_column=item'
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import rich.console
import rich.table

from benchmarks.vae.commands import run
from transforms.models.import_tensorflow import import_tensorflow

REFERENCE = "plain dense Mult-VAE"


def main() -> int:
    """Print the figures."""
    options = _options()
    console = rich.console.Console(width=120)
    console.print(f"load at start: {os.getloadavg()[0]:.2f}")
    work = Path(options.work or tempfile.mkdtemp(prefix="vae-speed-"))
    work.mkdir(parents=True, exist_ok=True)
    output = work / "run"
    command = [f"--interactions={options.data}", f"--output={output}", "--overwrite", "--epochs=1", "--linear_items=0"]
    ran = run("pipelines.vae_train", [*command, *shlex.split(options.reading)], work / "run.ran")
    record = json.loads((output / "run.json").read_text())
    counters, timings = record["counters"], record["timings"]
    console.print(
        f"{counters['rows_read']:,} rows, {counters['train_users']:,} users, {counters['items']:,} items; vae-train "
        f"--epochs=1 takes {ran.seconds:.0f} s, peak {ran.peak_bytes / 2**20:,.0f} MiB; stages: {timings}"
    )
    features_s = timings["features"]
    console.print(
        f"feature pipeline: {counters['rows_read'] / features_s:,.0f} rows/s, "
        f"{features_s / ran.seconds:.0%} of this run (one epoch of training)"
    )
    _steps(options, output, counters["items"], console)
    return 0


@dataclasses.dataclass
class Contender:
    """step: one training step on a batch and its dense twin. seconds: of each step after the first."""

    name: str
    step: Callable[[Any, Any], Any]
    first_s: float = 0.0
    seconds: list[float] = dataclasses.field(default_factory=list)


def _steps(options: Any, output: Path, items: int, console: rich.console.Console) -> None:
    tf = import_tensorflow()

    from benchmarks.vae.reference import DenseMultVae
    from pipelines.vae_train.config import ModelConfig, TrainingConfig
    from pipelines.vae_train.model.multvae import MultVae
    from pipelines.vae_train.training.batches import open_examples, training_batches

    training = TrainingConfig(batch_users=options.batch_users)
    examples = open_examples(str(output), training.shuffle_users)
    batches = iter(training_batches(examples, training))
    next(batches)
    started, users = time.perf_counter(), 0
    for batch in itertools.islice(batches, 200):
        users += int(batch.user_keys.shape[0])
    console.print(f"input pipeline alone: {users / (time.perf_counter() - started):,.0f} users/s")

    reference = DenseMultVae(items, seed=1)
    ours = MultVae(items, ModelConfig(kind="multvae"), {}, 1)
    _copy_weights(reference, ours)
    batch = next(batches)
    theirs = reference.scores(_dense(batch, items))
    difference = float(tf.reduce_max(tf.abs(tf.nn.log_softmax(theirs) - ours.scores(batch.item_ids, {}))))
    if difference > 1e-3:
        raise RuntimeError(f"with the same weights the scores differ by {difference}")
    console.print(f"with the same weights the two models' scores differ by {difference:.1g} at most")
    del ours

    contenders = [Contender(REFERENCE, lambda batch, dense: reference.train_step(dense, tf.constant(0.1)))]
    contenders += [_ours(name, items, *each) for name, each in _VARIANTS.items()]
    for round_number in range(options.steps + 1):
        batch = next(batches)
        dense = _dense(batch, items)
        for contender in contenders:
            started = time.perf_counter()
            float(contender.step(batch, dense))
            seconds = time.perf_counter() - started
            if round_number:
                contender.seconds.append(seconds)
            else:
                contender.first_s = seconds
    _table(console, contenders, options)


_VARIANTS: dict[str, tuple[str, dict[str, Any], bool, str]] = {
    "vae_train multvae": ("multvae", {}, True, "all"),
    "… with dense updates of the input layer": ("multvae", {}, False, "all"),
    "… with bfloat16 products (--precision)": ("multvae", {"precision": "bfloat16"}, True, "all"),
    "… with a sampled softmax (--sampled_items=1)": ("multvae", {"sampled_items": 1}, True, "all"),
    "vae_train recvae, step of the encoder": ("recvae", {}, True, "encoder"),
    "vae_train recvae, step of the decoder": ("recvae", {}, True, "decoder"),
}


def _ours(name: str, items: int, kind: str, more: dict[str, Any], lazy: bool, phase: str) -> Contender:
    tf = import_tensorflow()

    from pipelines.vae_train.config import ModelConfig
    from pipelines.vae_train.model.adam import Adam
    from pipelines.vae_train.model.factory import make_model
    from pipelines.vae_train.model.interface import Batch, NoiseKeys

    config: Any = ModelConfig(kind=kind, **more)  # type: ignore[arg-type]
    model = make_model(items, config, {}, 1)
    variables = model.variables_of(phase)
    optimiser = Adam(variables, 1e-3, lazy=lazy)
    ragged = tf.RaggedTensorSpec([None, None], tf.int64, 1, tf.int64)
    weights = tf.RaggedTensorSpec([None, None], tf.float32, 1, tf.int64)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.uint64), ragged, weights, tf.TensorSpec([], tf.int64)])
    def step(user_keys: Any, item_ids: Any, item_weights: Any, number: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            losses = model.loss(Batch(user_keys, item_ids, item_weights, {}), NoiseKeys(1, number, number), phase, 0.1)
            loss = losses.total / tf.cast(tf.size(user_keys), tf.float32)
        optimiser.apply(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    numbers = itertools.count()

    def run_step(batch: Any, dense: Any) -> Any:
        return step(batch.user_keys, batch.item_ids, batch.weights, tf.constant(next(numbers), tf.int64))

    return Contender(name, run_step)


def _copy_weights(reference: Any, ours: Any) -> None:
    """Biases begin at 0 in both."""
    into, posterior, hidden, out = (kernel.numpy() for kernel in reference.kernels)
    ours.input.kernel.assign(into)
    ours.mu.kernel.assign(posterior[:, : reference.latent])
    ours.logvar.kernel.assign(posterior[:, reference.latent :])
    ours.hidden.kernel.assign(hidden)
    ours.output.kernel.assign(out.T)


def _dense(batch: Any, items: int) -> Any:
    tf = import_tensorflow()

    rows = np.zeros((int(batch.user_keys.shape[0]), items), np.float32)
    rows[batch.item_ids.value_rowids().numpy(), batch.item_ids.flat_values.numpy()] = 1.0
    return tf.constant(rows)


def _table(console: rich.console.Console, contenders: list[Contender], options: Any) -> None:
    table = rich.table.Table(title=f"training steps of {options.batch_users} users", title_justify="left")
    for heading in ("", "ms a step (median)", "steps/s", "times the reference's", "first step, s"):
        table.add_column(heading, justify="right" if heading else "left")
    base = statistics.median(contenders[0].seconds)
    for contender in contenders:
        median = statistics.median(contender.seconds)
        cells = [f"{1e3 * median:,.0f}", f"{1 / median:.2f}", f"{base / median:.2f}", f"{contender.first_s:.1f}"]
        table.add_row(contender.name, *cells)
    console.print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0] if __doc__ else "", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="an interaction log with a large catalogue")
    parser.add_argument("--reading", default="", help="flags that say how to read it, such as --user_column=user")
    parser.add_argument("--batch_users", type=int, default=500)
    parser.add_argument("--steps", type=int, default=15, help="steps of each, after the first")
    parser.add_argument("--work", help="folder for what the command writes (default: a temporary one)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
