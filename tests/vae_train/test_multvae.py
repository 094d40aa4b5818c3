"""Mult-VAE against the paper's dense formulas, and each deviation that public implementations were found with."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from pipelines.vae_train.model.bag import make_bag
from pipelines.vae_train.model.factory import make_model
from pipelines.vae_train.model.interface import Batch, Losses
from pipelines.vae_train.model.multvae import MultVae
from pipelines.vae_train.model.output import draw_latent
from tests.vae_train import model_oracle as oracle

CONFIG = dataclasses.replace(oracle.SMALL, kind="multvae")


def model(regulariser: float = 0.0, seed: int = 1, **changes: object) -> MultVae:
    made = MultVae(oracle.ITEMS, dataclasses.replace(CONFIG, **changes), {}, seed, regulariser)
    rng = np.random.default_rng(seed)
    for variable in made.trainable_variables:  # offsets start at 0, where an error in them would not show
        variable.assign_add(rng.normal(scale=0.3, size=variable.shape).astype(np.float32))
    return made


def naive(of: MultVae, kl_weight: float = 0.1, regulariser: float = 0.0) -> Losses:
    """Equations 1 to 6 of Liang et al. over a dense input, with the twins of the model's noise."""
    clicks = oracle.dense(oracle.HISTORIES)
    x = tf.constant(oracle.dropped(oracle.normalised(clicks), oracle.KEYS))
    hidden = tf.tanh(x @ tf.convert_to_tensor(of.input.kernel) + of.input.bias)
    mu = hidden @ tf.convert_to_tensor(of.mu.kernel) + of.mu.bias
    logvar = hidden @ tf.convert_to_tensor(of.logvar.kernel) + of.logvar.bias
    z = mu + tf.exp(logvar / 2) * oracle.latent_noise(oracle.KEYS, CONFIG.latent)
    decoded = tf.tanh(z @ tf.convert_to_tensor(of.hidden.kernel) + of.hidden.bias)
    logits = decoded @ tf.transpose(of.output.kernel) + of.output.bias
    log_likelihood = tf.reduce_sum(tf.nn.log_softmax(logits) * clicks)
    kl = tf.reduce_sum(0.5 * tf.reduce_sum(-logvar + tf.exp(logvar) + mu**2 - 1, axis=1))
    kernels = [of.input.kernel, of.mu.kernel, of.logvar.kernel, of.hidden.kernel, of.output.kernel]
    squares = sum(tf.reduce_sum(kernel**2) for kernel in kernels)
    return Losses(-log_likelihood + kl_weight * kl + regulariser * len(clicks) * squares, log_likelihood, kl)


@pytest.mark.parametrize("regulariser", [0.0, 0.02])
def test_losses_and_gradients_are_the_papers(regulariser: float) -> None:
    of = model(regulariser)
    variables = of.variables_of("all")
    found, slopes = oracle.gradients(lambda: of.loss(oracle.batch_of(), oracle.NOISE, "all", 0.1), variables)
    expected, expected_slopes = oracle.gradients(lambda: naive(of, 0.1, regulariser), variables)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    oracle.assert_gradients_equal(slopes, expected_slopes, variables)


def test_the_regulariser_is_in_the_loss() -> None:
    plain, regular = (m.loss(oracle.batch_of(), oracle.NOISE, "all", 0.1) for m in (model(), model(0.5)))
    assert float(regular.total) > float(plain.total) + 1
    assert float(regular.log_likelihood) == float(plain.log_likelihood)


def test_kl_is_summed_over_dimensions() -> None:
    """mu = 2, logvar = 0 in each of 4 dimensions, for 5 users: 5 * 4 * 2^2 / 2 = 40; averaged it would be 10."""
    of = model()
    for variable in (of.mu.kernel, of.logvar.kernel, of.logvar.bias):
        variable.assign(tf.zeros_like(variable))
    of.mu.bias.assign(tf.fill([CONFIG.latent], 2.0))
    losses = of.loss(oracle.batch_of(), oracle.NOISE, "all", 0.5)
    assert float(losses.kl) == pytest.approx(40)
    assert float(losses.total) == pytest.approx(20 - float(losses.log_likelihood))


def test_latent_noise_has_standard_deviation_1() -> None:
    users = 2_000
    batch = Batch(tf.range(users, dtype=tf.int64), oracle.ragged([[]] * users), oracle.ragged([[]] * users, np.float32))
    zeros = tf.zeros([users, 10])
    assert float(tf.math.reduce_std(draw_latent(zeros, zeros, batch, oracle.NOISE))) == pytest.approx(1, abs=0.02)
    tripled = draw_latent(zeros + 5, zeros + 2 * np.log(3), batch, oracle.NOISE)
    assert float(tf.reduce_mean(tripled)) == pytest.approx(5, abs=0.08)
    assert float(tf.math.reduce_std(tripled)) == pytest.approx(3, abs=0.06)


def test_scores_are_log_probabilities_at_the_mean_without_dropout() -> None:
    of = model()
    x = tf.constant(oracle.normalised(oracle.dense(oracle.HISTORIES)))
    hidden = tf.tanh(x @ tf.convert_to_tensor(of.input.kernel) + of.input.bias)
    mu = hidden @ tf.convert_to_tensor(of.mu.kernel) + of.mu.bias
    decoded = tf.tanh(mu @ tf.convert_to_tensor(of.hidden.kernel) + of.hidden.bias)
    expected = tf.nn.log_softmax(decoded @ tf.transpose(of.output.kernel) + of.output.bias)
    np.testing.assert_allclose(of.scores(oracle.ragged(oracle.HISTORIES), {}), expected, rtol=1e-4, atol=1e-5)


def test_noise_depends_on_the_pass_and_the_user_alone() -> None:
    of = model()
    whole = of.loss(oracle.batch_of(), oracle.NOISE, "all", 0.1)
    parts = [
        of.loss(oracle.batch_of([history], [user]), oracle.NOISE, "all", 0.1)
        for history, user in reversed(list(zip(oracle.HISTORIES, oracle.KEYS, strict=True)))
    ]
    np.testing.assert_allclose(np.sum(parts, axis=0), whole, rtol=1e-5)
    other_pass = of.loss(oracle.batch_of(), oracle.NOISE._replace(pass_number=4), "all", 0.1)
    assert abs(float(other_pass.log_likelihood) - float(whole.log_likelihood)) > 1e-3


def test_a_user_of_zero_weights_is_input_but_not_loss() -> None:
    of = model()
    weights = [[0.0] * len(history) for history in oracle.HISTORIES]
    losses = of.loss(oracle.batch_of(weights=weights), oracle.NOISE, "all", 0.1)
    assert float(losses.log_likelihood) == 0
    assert float(losses.kl) == pytest.approx(float(naive(of).kl), rel=1e-5)


def test_weights_multiply_the_log_probabilities() -> None:
    of = model()
    doubled = oracle.batch_of(weights=[[2.0] * len(history) for history in oracle.HISTORIES])
    found = of.loss(doubled, oracle.NOISE, "all", 0.1).log_likelihood
    assert float(found) == pytest.approx(2 * float(naive(of).log_likelihood), rel=1e-5)


def test_a_batch_of_empty_histories_is_finite() -> None:
    of = model()
    empty = oracle.batch_of([[], []], [1, 2])
    losses, slopes = oracle.gradients(lambda: of.loss(empty, oracle.NOISE, "all", 0.1), of.variables_of("all"))
    assert np.isfinite(losses).all()
    assert all(slope is None or np.isfinite(slope).all() for slope in slopes)
    assert np.isfinite(of.scores(oracle.ragged([[], []]), {})).all()


def test_side_values_are_embedded_with_their_items_weight() -> None:
    """Of a value 0 nothing is added; values run from 1."""
    of = MultVae(oracle.ITEMS, CONFIG, {"genre": 4}, 1)
    histories, genres = [[0, 3], [2], [1]], [[3, 0], [1], [0]]
    bare = MultVae(oracle.ITEMS, CONFIG, {}, 1)
    x = oracle.normalised(oracle.dense(histories))
    found, plain = (
        m.input(make_bag(oracle.ragged(histories), None, sides), False) - x @ m.input.kernel.numpy()
        for m, sides in ((of, {"genre": oracle.ragged(genres)}), (bare, {}))
    )
    table = of.input.sides["genre"].numpy()
    np.testing.assert_allclose(found, [table[3] / np.sqrt(2), table[1], np.zeros(CONFIG.hidden)], atol=1e-6)
    np.testing.assert_allclose(plain, 0, atol=1e-6)
    batch = oracle.batch_of(histories, [1, 2, 3], sides={"genre": genres})
    losses = of.loss(batch, oracle.NOISE, "all", 0.1)
    assert np.isfinite(losses).all()
    assert of.scores(batch.item_ids, batch.sides).shape == (3, oracle.ITEMS)


def test_a_large_catalogue_is_trained_by_samples_and_scored_in_full() -> None:
    of = model(sampled_items=8, samples=3)
    losses, slopes = oracle.gradients(
        lambda: of.loss(oracle.batch_of(), oracle.NOISE, "all", 0.1), of.variables_of("all")
    )
    assert np.isfinite(losses).all()
    assert all(slope is not None for slope in slopes)
    scores = of.scores(oracle.ragged(oracle.HISTORIES), {})
    np.testing.assert_allclose(tf.reduce_sum(tf.exp(scores), axis=1), 1, rtol=1e-5)


def test_initial_weights_are_glorots_and_depend_on_the_seed_alone() -> None:
    first, again, other = (MultVae(300, dataclasses.replace(CONFIG, hidden=50), {}, s) for s in (1, 1, 2))
    for a, b, c in zip(first.variables, again.variables, other.variables, strict=True):
        assert np.array_equal(a, b)
        if a.shape.rank == 2:
            bound = np.sqrt(6 / sum(a.shape))
            assert not np.array_equal(a, c)
            assert 0.9 * bound < np.abs(a).max() <= bound
    assert not np.array_equal(first.mu.kernel, first.logvar.kernel)


def test_another_phase_is_refused() -> None:
    with pytest.raises(ValueError, match="decoder"):
        model().variables_of("decoder")


def test_the_configuration_names_the_model() -> None:
    made = [make_model(oracle.ITEMS, dataclasses.replace(CONFIG, kind=kind), {}, 1) for kind in ("multvae", "recvae")]
    assert [type(m).__name__ for m in made] == ["MultVae", "RecVae"]
