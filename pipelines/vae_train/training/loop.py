"""Run the training loop: epochs of steps, validation, early stopping and checkpoints.

A restarted run resumes from its newest checkpoint. On the CPU of one machine, a run that was killed and restarted ends
with the same weights as an uninterrupted run.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.vae_train.config import ModelConfig, TrainingConfig
from pipelines.vae_train.model.adam import Adam
from pipelines.vae_train.model.factory import make_model
from pipelines.vae_train.model.interface import Batch, Model
from pipelines.vae_train.training.batches import TrainingExamples, open_examples, training_batches
from pipelines.vae_train.training.checkpoints import Checkpoints, State
from pipelines.vae_train.training.display import Display, Silent
from pipelines.vae_train.training.distribution import Distribution, open_distribution
from pipelines.vae_train.training.diverged import diverged
from pipelines.vae_train.training.heldout import HeldOut, read_heldout
from pipelines.vae_train.training.journal import EpochRecord, Journal
from pipelines.vae_train.training.reading import named_faults
from pipelines.vae_train.training.schedule import Schedule
from pipelines.vae_train.training.steps import StepFn, all_finite, make_step
from pipelines.vae_train.training.validation import ScoreFn, evaluate

__all__ = ["METRIC", "Trained", "train"]

METRIC = "ndcg@100"
"""The validation metric for keeping the best weights and for early stopping."""


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """The result of training.

    Attributes:
        model: The model with the best weights.
        best_epoch: Epoch of the best weights, from 1.
        best_metrics: Validation metrics of that epoch.
        epochs_run: Number of epochs trained.
        steps: Number of steps trained.
        timings: Seconds that this process spent on `reading`, `steps`, `validation` and `checkpoints`.
    """

    model: Model
    best_epoch: int
    best_metrics: Mapping[str, float]
    epochs_run: int
    steps: int
    timings: Mapping[str, float]


def train(
    features_dir: str,
    work_dir: str,
    items: int,
    model_config: ModelConfig,
    training_config: TrainingConfig,
    *,
    sides: Mapping[str, int] | None = None,
    progress: Display | None = None,
    stop_after_epoch: int | None = None,
    distribution: Distribution | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Trained:
    """Train a model, or resume its training from the newest checkpoint.

    Without validation users, all epochs are trained.

    Args:
        features_dir: Folder of the features.
        work_dir: Folder of the checkpoints and the journal.
        items: Size of the vocabulary.
        model_config: Shape of the model and its loss.
        training_config: Settings of the training.
        sides: Number of values per side column (`side_sizes`).
        progress: Display of the progress. None shows nothing.
        stop_after_epoch: Train exactly this many epochs without validation and return the last weights. The schedule is
            that of training_config.epochs.
        distribution: An open distribution, for a second training in the same process.
        clock: Returns the time in seconds.

    Raises:
        TrainingDiverged: The loss is not finite.
        BadInput: Examples are damaged, or the checkpoints belong to another run.
        BadUsage: --distribute=multiworker without a valid TF_CONFIG.
    """
    if training_config.deterministic:
        tf.random.set_seed(training_config.seed)  # enable_op_determinism requires a seed, although nothing uses it
        tf.config.experimental.enable_op_determinism()
    distribution = distribution or open_distribution(training_config.distribute)
    began = clock()
    sides = dict(sides or {})
    examples = open_examples(features_dir, training_config.shuffle_users, list(sides))
    heldout = None if stop_after_epoch is not None else read_heldout(features_dir, "validation", items, list(sides))
    timings = {"reading": clock() - began, "steps": 0.0, "validation": 0.0, "checkpoints": 0.0}
    with distribution.strategy.scope():
        model = make_model(items, model_config, sides, training_config.seed)
        rate = tf.Variable(training_config.learning_rate, trainable=False, name="learning_rate")
        optimizers = {phase: Adam(model.variables_of(phase), rate, training_config.lazy) for phase in model.phases}
    run = _Run(
        examples=examples,
        heldout=heldout,
        config=training_config,
        schedule=Schedule.of(examples.users, model_config, training_config),
        distribution=distribution,
        model=model,
        optimizers=optimizers,
        rate=rate,
        checkpoints=Checkpoints(work_dir, model, optimizers, chief=distribution.chief),
        last_epoch=training_config.epochs if stop_after_epoch is None else stop_after_epoch,
        progress=progress or Silent(),
        clock=clock,
        timings=timings,
    )
    state = run.go_on(work_dir)
    return Trained(model, state.best_epoch, state.best_metrics, state.epoch, state.step, timings)


@dataclasses.dataclass(eq=False)
class _Run:
    """The parts of a run, and its state outside of checkpoints."""

    examples: TrainingExamples
    heldout: HeldOut | None
    config: TrainingConfig
    schedule: Schedule
    distribution: Distribution
    model: Model
    optimizers: Mapping[str, Adam]
    rate: Any
    """The learning rate of all optimisers, a scalar variable."""
    checkpoints: Checkpoints
    last_epoch: int
    progress: Display
    clock: Callable[[], float]
    timings: dict[str, float]
    batches: Iterator[Batch] | None = None
    step_fns: Mapping[str, StepFn] = dataclasses.field(default_factory=dict)
    last: _Pending | None = None
    pending: _Pending | None = None
    """The newest step. Its result is read after the next step has started, so that a GPU does not wait for Python."""

    def go_on(self, work_dir: str) -> State:
        """Train from the newest checkpoint to the end, then restore the best weights into the model."""
        state = self.checkpoints.restore()
        if state.step:
            self.progress.resumed(state.epoch, state.step)
        if not self._finished(state):
            state = self._train(state, work_dir)
        if state.best_epoch != state.epoch:
            self.checkpoints.restore_best(state.best_epoch)
        return state

    def _train(self, state: State, work_dir: str) -> State:
        schedule = self.schedule
        pass_number = state.epoch * len(schedule.phases) + state.passes
        data = training_batches(self.examples, self.config, pass_number, state.batches)
        self.batches = iter(data)
        self.step_fns = {
            phase: make_step(self.model, optimizer, phase, self.config.seed, data.element_spec, self.distribution)
            for phase, optimizer in self.optimizers.items()
        }
        score = _compiled_scores(self.model, list(self.examples.sides))
        journal = Journal(work_dir, state.epoch, chief=self.distribution.chief)
        self.progress.plan(self.last_epoch, schedule.steps_per_epoch, state.step)
        began = self.clock()
        try:
            while not self._finished(state):
                state = self._steps_of_epoch(state)
                state = self._close_epoch(state, journal, score)
        finally:
            journal.close()
        others = self.timings["validation"] + self.timings["checkpoints"]
        self.timings["steps"] = self.clock() - began - others
        return state

    def _finished(self, state: State) -> bool:
        if state.epoch >= self.last_epoch:
            return True
        return bool(self.heldout) and state.epoch - state.best_epoch >= self.config.patience

    def _steps_of_epoch(self, state: State) -> State:
        """Run the remaining passes of an epoch."""
        schedule = self.schedule
        began = self.clock() - state.seconds
        while state.passes < len(schedule.phases):
            while state.batches < schedule.steps_per_pass:
                state = self._step(state)
                in_epoch = state.passes * schedule.steps_per_pass + state.batches
                if state.step % self.config.checkpoint_steps == 0 and in_epoch < schedule.steps_per_epoch:
                    state = dataclasses.replace(self._settled(state), seconds=self.clock() - began)
                    self._save(state)
            if schedule.ends_encoder(state.passes):
                self.model.end_of_encoder_phase()
            state = dataclasses.replace(state, passes=state.passes + 1, batches=0)
        return dataclasses.replace(self._settled(state), seconds=self.clock() - began)

    def _step(self, state: State) -> State:
        phase, schedule = self.schedule.phases[state.passes], self.schedule
        pass_number = state.epoch * len(schedule.phases) + state.passes
        kl_weight = schedule.kl_weight(state.step)
        self.rate.assign(schedule.learning_rate(state.step))
        assert self.batches is not None  # _train sets it
        with named_faults(self.examples.shards):
            batch = next(self.batches)
        sums = self.step_fns[phase](batch, np.int64(pass_number), np.int64(state.step), np.float32(kl_weight))
        state = self._settled(state)
        self.pending = _Pending(batch, sums, state.step + 1, phase, kl_weight)
        return dataclasses.replace(state, batches=state.batches + 1, step=state.step + 1)

    def _settled(self, state: State) -> State:
        """Add the sums of the pending step to the state. Raise TrainingDiverged if they are not finite."""
        if self.pending is None:
            return state
        made, self.pending = self.pending, None
        sums = [float(value) for value in made.sums.numpy()]
        keys = made.batch.user_keys.numpy()
        if not all(map(math.isfinite, sums)):
            raise diverged(sums[0] / len(keys), state.epoch + 1, made.step, keys, self.config.learning_rate)
        total, log_likelihood, kl = (before + more for before, more in zip(state.sums, sums, strict=True))
        state = dataclasses.replace(
            state,
            sums=(total, log_likelihood, kl),
            users=state.users + len(keys),
            kl_users=state.kl_users + (len(keys) if made.phase != "decoder" else 0),
        )
        self.last = made
        self.progress.step(state.epoch + 1, made.phase, total / state.users, _mean_kl(state), made.kl_weight)
        return state

    def _close_epoch(self, state: State, journal: Journal, score: ScoreFn) -> State:
        """Validate and record the epoch, then save a checkpoint."""
        began = self.clock()
        epoch = state.epoch + 1
        if not all_finite(self.model, self.schedule.phases):
            keys = self.last.batch.user_keys.numpy() if self.last is not None else np.zeros(0, np.uint64)
            raise diverged(math.nan, epoch, state.step, keys, self.config.learning_rate)
        metrics: dict[str, float] = {}
        best_epoch, best_metrics = epoch, metrics
        if self.heldout:
            metrics = best_metrics = self.distribution.agreed(
                evaluate(score, self.heldout, progress=self.progress.validating)
            )
            if state.best_epoch and metrics[METRIC] <= state.best_metrics[METRIC]:
                best_epoch, best_metrics = state.best_epoch, dict(state.best_metrics)
            else:
                self.checkpoints.save_best(epoch)
            self.progress.validated(metrics[METRIC], best_metrics[METRIC], best_epoch)
        spent = self.clock() - began
        self.timings["validation"] += spent
        journal.append(
            EpochRecord(
                epoch=epoch,
                steps=state.step,
                loss=state.sums[0] / state.users,
                log_likelihood=state.sums[1] / state.users,
                kl=_mean_kl(state),
                beta=self.schedule.kl_weight(state.step - 1),
                learning_rate=self.schedule.learning_rate(state.step - 1),
                validation=metrics,
                seconds=state.seconds + spent,
            )
        )
        self.progress.closed(epoch)
        state = State(epoch=epoch, step=state.step, best_epoch=best_epoch, best_metrics=best_metrics)
        self._save(state)
        return state

    def _save(self, state: State) -> None:
        began = self.clock()
        self.checkpoints.save(state)
        self.timings["checkpoints"] += self.clock() - began


@dataclasses.dataclass(frozen=True, eq=False)
class _Pending:
    """A completed step. `step` counts from 1."""

    batch: Batch
    sums: Any
    step: int
    phase: str
    kl_weight: float


def _mean_kl(state: State) -> float:
    """Return the mean KL per user over the passes that compute it. Decoder passes do not."""
    return state.sums[2] / max(1, state.kl_users)


def _compiled_scores(model: Model, sides: list[str]) -> ScoreFn:
    ragged = tf.RaggedTensorSpec([None, None], tf.int64, 1, tf.int64)
    compiled: ScoreFn = tf.function(model.scores, input_signature=[ragged, dict.fromkeys(sides, ragged)])
    return compiled
