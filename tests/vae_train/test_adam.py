"""Adam against its formula in numpy, dense and lazy, and below tf.distribute."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

from pipelines.vae_train.model.adam import Adam

RATE = 0.1


class Slow:
    """One variable's Adam in float64, rows of a mask alone."""

    def __init__(self, value: np.ndarray) -> None:
        self.value = value.astype(np.float64)
        self.first, self.second, self.steps = np.zeros_like(self.value), np.zeros_like(self.value), 0

    def step(self, gradient: np.ndarray, rows: object = slice(None)) -> None:
        self.steps += 1
        self.first[rows] = 0.9 * self.first[rows] + 0.1 * gradient[rows]
        self.second[rows] = 0.999 * self.second[rows] + 0.001 * gradient[rows] ** 2
        rate = RATE * np.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
        self.value[rows] -= rate * self.first[rows] / (np.sqrt(self.second[rows]) + 1e-8)


def start() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(6, 2)).astype(np.float32)


def slices(rows: list[int], seed: int) -> tuple[tf.IndexedSlices, np.ndarray]:
    """A sparse gradient, rows may repeat, and the dense one it stands for."""
    values = np.random.default_rng(seed).normal(size=(len(rows), 2)).astype(np.float32)
    dense = np.zeros((6, 2), np.float32)
    np.add.at(dense, rows, values)
    return tf.IndexedSlices(tf.constant(values), tf.constant(rows, tf.int64), tf.constant([6, 2])), dense


def test_dense_steps_are_the_papers() -> None:
    variable, slow = tf.Variable(start()), Slow(start())
    adam = Adam([variable], RATE, lazy=True)
    for seed in range(6):
        gradient = np.random.default_rng(seed).normal(size=(6, 2)).astype(np.float32)
        adam.apply([(tf.constant(gradient), variable)])
        slow.step(gradient)
    np.testing.assert_allclose(variable, slow.value, rtol=1e-4, atol=1e-5)


def test_the_first_step_is_the_learning_rate_against_the_gradients_sign() -> None:
    variable = tf.Variable([1.0, 1.0, 1.0])
    Adam([variable], RATE, lazy=False).apply([(tf.constant([3.0, -0.02, 0.0]), variable)])
    assert variable.numpy() == pytest.approx([0.9, 1.1, 1.0], abs=1e-4)


@pytest.mark.parametrize("lazy", [True, False])
def test_sparse_gradients_move_their_rows_alone_when_lazy_and_all_rows_when_not(lazy: bool) -> None:
    variable, slow = tf.Variable(start()), Slow(start())
    adam = Adam([variable], RATE, lazy)
    for seed, rows in enumerate(([0, 3, 3], [3, 1], [5, 5, 5, 0], [2])):  # repeated rows are summed before squaring
        gradient, dense = slices(rows, seed)
        adam.apply([(gradient, variable)])
        slow.step(dense, sorted(set(rows)) if lazy else slice(None))
    np.testing.assert_allclose(variable, slow.value, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(adam.first[0], slow.first, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(adam.second[0], slow.second, rtol=1e-4, atol=1e-8)
    assert np.array_equal(variable[4], start()[4]), "no step has named row 4"


def test_an_empty_sparse_gradient_changes_nothing() -> None:
    variable = tf.Variable(start())
    Adam([variable], RATE, lazy=True).apply([(slices([], 1)[0], variable)])
    assert np.array_equal(variable, start())


def test_inside_a_function_one_trace_serves_all_sizes() -> None:
    variable, slow = tf.Variable(start()), Slow(start())
    adam = Adam([variable], tf.Variable(RATE), lazy=True)

    @tf.function(input_signature=[tf.TensorSpec([None, 2]), tf.TensorSpec([None], tf.int64)])
    def step(values: tf.Tensor, rows: tf.Tensor) -> None:
        adam.apply([(tf.IndexedSlices(values, rows, tf.constant([6, 2])), variable)])

    for seed, rows in enumerate(([0, 3, 3], [3, 1], [4])):
        gradient, dense = slices(rows, seed)
        step(gradient.values, gradient.indices)
        slow.step(dense, sorted(set(rows)))
    np.testing.assert_allclose(variable, slow.value, rtol=1e-4, atol=1e-5)
    assert step.experimental_get_tracing_count() == 1


def test_a_restored_optimiser_goes_on_as_if_nothing_had_happened(tmp_path: pathlib.Path) -> None:
    straight, halted, resumed = (tf.Variable(start()) for _ in range(3))
    optimisers = [Adam([v], RATE, lazy=True) for v in (straight, halted, resumed)]
    for seed in range(3):
        optimisers[0].apply([(slices([0, 2], seed)[0], straight)])
        optimisers[1].apply([(slices([0, 2], seed)[0], halted)])
    path = tf.train.Checkpoint(adam=optimisers[1], variable=halted).save(str(tmp_path / "saved"))
    tf.train.Checkpoint(adam=optimisers[2], variable=resumed).restore(path).assert_consumed()
    optimisers[0].apply([(slices([2, 4], 9)[0], straight)])
    optimisers[2].apply([(slices([2, 4], 9)[0], resumed)])
    assert np.array_equal(straight, resumed)


def test_a_variable_without_gradient_is_an_error_that_names_it() -> None:
    variable = tf.Variable([1.0], name="lonely")
    with pytest.raises(ValueError, match="lonely"):
        Adam([variable], RATE, lazy=True).apply([(None, variable)])


def test_a_variable_the_optimiser_does_not_know_is_an_error_that_names_it() -> None:
    stranger = tf.Variable([1.0], name="stranger")
    with pytest.raises(ValueError, match="stranger"):
        Adam([tf.Variable([1.0])], RATE, lazy=True).apply([(tf.constant([1.0]), stranger)])


MIRRORED = """
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from pipelines.vae_train.model.adam import Adam
from tests.vae_train.test_adam import RATE, Slow, slices, start

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    sparse, dense = tf.Variable(start()), tf.Variable(start())
    adam = Adam([sparse, dense], RATE, lazy=True)

@tf.function
def step(values, rows, full):
    adam.advance()
    for variable, gradient in ((sparse, tf.IndexedSlices(values, rows, tf.constant([6, 2]))), (dense, full)):
        strategy.extended.update(variable, adam.update_one, args=(gradient,), group=False)

slow = Slow(start()), Slow(start())
for seed, rows in enumerate(([0, 3, 3], [3, 1], [4, 0, 1])):
    gradient, full = slices(rows, seed)
    step(gradient.values, gradient.indices, tf.constant(full))
    slow[0].step(full, sorted(set(rows)))
    slow[1].step(full)
for variable, expected in ((sparse, slow[0]), (dense, slow[1])):
    copies = strategy.experimental_local_results(variable)
    assert len(copies) == 2
    for copy in copies:
        np.testing.assert_allclose(copy, expected.value, rtol=1e-4, atol=1e-5)
"""


def test_mirrored_copies_move_alike() -> None:
    """In a process of its own: logical devices are made before any tensor."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(MIRRORED)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
