"""RecVAE against a dense transcription of the paper's code, its two phases and its prior."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

from pipelines.vae_train.model.interface import Losses
from pipelines.vae_train.model.recvae import Encoder, RecVae
from tests.vae_train import model_oracle as oracle


def model(seed: int = 1, **changes: object) -> RecVae:
    """With an old encoder unlike the present one, and offsets unlike 0."""
    made = RecVae(oracle.ITEMS, dataclasses.replace(oracle.SMALL, **changes), {}, seed)
    rng = np.random.default_rng(seed)
    for variable in made.variables:
        variable.assign_add(rng.normal(scale=0.3, size=variable.shape).astype(np.float32))
    return made


def encode(encoder: Encoder, x: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
    """The forward method of the authors' Encoder, line by line."""
    fc = [encoder.input, *encoder.dense]

    def ln(i: int, h: tf.Tensor) -> tf.Tensor:
        mean = tf.reduce_mean(h, axis=1, keepdims=True)
        variance = tf.reduce_mean((h - mean) ** 2, axis=1, keepdims=True)
        return (h - mean) / tf.sqrt(variance + 0.1) * encoder.norms[i].scale + encoder.norms[i].offset

    def swish(h: tf.Tensor) -> tf.Tensor:
        return h * tf.sigmoid(h)

    def linear(layer, h: tf.Tensor) -> tf.Tensor:
        return h @ tf.convert_to_tensor(layer.kernel) + layer.bias

    h1 = ln(0, swish(linear(fc[0], tf.constant(x))))
    h2 = ln(1, swish(linear(fc[1], h1) + h1))
    h3 = ln(2, swish(linear(fc[2], h2) + h1 + h2))
    h4 = ln(3, swish(linear(fc[3], h3) + h1 + h2 + h3))
    h5 = ln(4, swish(linear(fc[4], h4) + h1 + h2 + h3 + h4))
    return linear(encoder.mu, h5), linear(encoder.logvar, h5)


def log_norm_pdf(x, mu, logvar):
    return -0.5 * (logvar + np.log(2 * np.pi) + (x - mu) ** 2 / tf.exp(logvar))


def naive(of: RecVae, phase: str, kl_weight: float = 1.0, weights: list[list[float]] | None = None) -> Losses:
    """The authors' VAE.forward and CompositePrior.forward over a dense input, with the twins of the model's noise."""
    clicks = oracle.dense(oracle.HISTORIES, weights)
    history = oracle.normalised(oracle.dense(oracle.HISTORIES))
    mu, logvar = encode(of.encoder, oracle.dropped(history, oracle.KEYS) if phase == "encoder" else history)
    z = mu + tf.exp(0.5 * logvar) * oracle.latent_noise(oracle.KEYS, 4)
    logits = z @ tf.transpose(of.output.kernel) + of.output.bias
    log_likelihood = tf.reduce_sum(tf.nn.log_softmax(logits) * clicks)
    if phase == "decoder":
        return Losses(-log_likelihood, log_likelihood, tf.zeros([]))
    old_mu, old_logvar = encode(of.old_encoder, history)
    prior = 3 / 20 * tf.exp(log_norm_pdf(z, 0.0, 0.0)) + 3 / 4 * tf.exp(log_norm_pdf(z, old_mu, old_logvar))
    prior += 1 / 10 * tf.exp(log_norm_pdf(z, 0.0, 10.0))
    kl = tf.reduce_sum(log_norm_pdf(z, mu, logvar) - tf.math.log(prior), axis=1)
    weighted = tf.reduce_sum(0.05 * clicks.sum(1) * kl)
    return Losses(kl_weight * weighted - log_likelihood, log_likelihood, tf.reduce_sum(kl))


@pytest.mark.parametrize("phase", ["encoder", "decoder"])
@pytest.mark.parametrize("weights", [None, [[1.0, 0.5, 2.0], [3.0], [], [1.0, 0.0, 1.0, 0.25, 1.0], [0.0, 0.0]]])
def test_losses_and_gradients_are_the_papers(phase: str, weights: list[list[float]] | None) -> None:
    of = model()
    variables = of.variables_of(phase)
    batch = oracle.batch_of(weights=weights)
    found, slopes = oracle.gradients(lambda: of.loss(batch, oracle.NOISE, phase, 0.7), variables)
    expected, expected_slopes = oracle.gradients(lambda: naive(of, phase, 0.7, weights), variables)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    oracle.assert_gradients_equal(slopes, expected_slopes, variables)


def test_each_phase_trains_its_own_variables_and_neither_the_prior() -> None:
    of = model()
    for phase, other in (("encoder", "decoder"), ("decoder", "encoder")):
        rest = [*of.variables_of(other), *of.old_encoder.trainable_variables]
        _, slopes = oracle.gradients(lambda phase=phase: of.loss(oracle.batch_of(), oracle.NOISE, phase, 1.0), rest)
        assert slopes == [None] * len(rest)
    assert len(of.variables_of("encoder")) == 2 * 5 + 2 * 5 + 2 * 2
    assert len(of.variables_of("decoder")) == 2


def test_a_decoder_step_computes_no_gradient_of_the_encoder_and_the_other_way_round() -> None:
    """Counted in the traced function: an encoder step lacks the product [items, b] x [b, latent] of the kernel."""
    of = model()
    batch = oracle.batch_of()

    def products(phase: str) -> int:
        @tf.function
        def step() -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                total = of.loss(batch, oracle.NOISE, phase, 1.0).total
            return [tf.convert_to_tensor(g) for g in tape.gradient(total, of.variables_of(phase))]

        operations = step.get_concrete_function().graph.get_operations()
        return sum(op.type in ("MatMul", "SparseMatrixMatMul") for op in operations)

    layers = 5 + 2
    # forward, decoder's logits, kernel's and bias's gradient; an eager custom gradient also makes what nobody reads
    assert products("decoder") <= layers + 1 + 3
    # both encoders forward, logits, one product back to z; per layer one for its input (the first has none), one for it
    assert products("encoder") <= 2 * layers + 1 + 3 + 2 * layers - 1


def test_the_prior_remembers_the_encoder_as_it_was_when_the_phase_ended() -> None:
    of = model()
    of.end_of_encoder_phase()
    before = [variable.numpy() for variable in of.encoder.variables]
    for variable in of.encoder.variables:
        variable.assign_add(tf.ones_like(variable))
    assert all(np.array_equal(old, b) for old, b in zip(of.old_encoder.variables, before, strict=True))


def test_at_first_the_prior_is_the_initial_encoder() -> None:
    of = RecVae(oracle.ITEMS, oracle.SMALL, {}, 3)
    pairs = zip(of.old_encoder.variables, of.encoder.variables, strict=True)
    assert all(np.array_equal(old, new) and old.name == new.name for old, new in pairs)


def test_scores_are_log_probabilities_at_the_mean_without_dropout() -> None:
    of = model()
    mu, _ = encode(of.encoder, oracle.normalised(oracle.dense(oracle.HISTORIES)))
    expected = tf.nn.log_softmax(mu @ tf.transpose(of.output.kernel) + of.output.bias)
    np.testing.assert_allclose(of.scores(oracle.ragged(oracle.HISTORIES), {}), expected, rtol=1e-4, atol=1e-5)


def test_a_batch_is_the_sum_of_its_users() -> None:
    of = model()
    for phase in of.phases:
        parts = [
            of.loss(oracle.batch_of([history], [user]), oracle.NOISE, phase, 1.0)
            for history, user in zip(oracle.HISTORIES, oracle.KEYS, strict=True)
        ]
        np.testing.assert_allclose(
            np.sum(parts, axis=0), of.loss(oracle.batch_of(), oracle.NOISE, phase, 1.0), rtol=1e-4
        )


def test_a_user_of_zero_weights_pulls_at_nothing() -> None:
    """|x| = 0 takes the KL term away as well."""
    of = model()
    nothing = oracle.batch_of(weights=[[0.0] * len(history) for history in oracle.HISTORIES])
    assert float(of.loss(nothing, oracle.NOISE, "encoder", 1.0).total) == 0


def test_a_batch_of_empty_histories_is_finite() -> None:
    of = model()
    for phase in of.phases:
        variables = of.variables_of(phase)
        empty = oracle.batch_of([[], []], [1, 2])
        losses, slopes = oracle.gradients(lambda p=phase, e=empty: of.loss(e, oracle.NOISE, p, 1.0), variables)
        assert np.isfinite(losses).all()
        assert all(np.isfinite(slope).all() for slope in slopes)
    assert np.isfinite(of.scores(oracle.ragged([[]]), {})).all()


def test_another_phase_is_refused() -> None:
    with pytest.raises(ValueError, match="all"):
        model().loss(oracle.batch_of(), oracle.NOISE, "all", 1.0)


DETERMINISTIC = """
import sys
import tensorflow as tf
tf.config.experimental.enable_op_determinism()
from pipelines.vae_train.model.adam import Adam
from pipelines.vae_train.model.factory import make_model
from tests.vae_train import model_oracle as oracle
import dataclasses

def train(kind, sampled):
    config = dataclasses.replace(oracle.SMALL, kind=kind, sampled_items=sampled, samples=4, recency_half_life=2.0)
    model = make_model(oracle.ITEMS, config, {"genre": 4}, 1)
    sides = {"genre": [[i % 4 for i in history] for history in oracle.HISTORIES]}
    for phase in model.phases:
        adam = Adam(model.variables_of(phase), 0.01, True)
        @tf.function
        def step(n):
            with tf.GradientTape() as tape:
                total = model.loss(oracle.batch_of(sides=sides), oracle.NOISE._replace(pass_number=n), phase, 0.1).total
            variables = model.variables_of(phase)
            adam.apply(zip(tape.gradient(total, variables), variables))
        for n in range(4):
            step(tf.constant(n, tf.int64))
        model.end_of_encoder_phase()
    return b"".join(v.numpy().tobytes() for v in model.variables)

for kind in ("recvae", "multvae"):
    for sampled in (100, 5):
        assert train(kind, sampled) == train(kind, sampled), (kind, sampled)
"""


def test_under_op_determinism_two_trainings_end_with_the_same_bytes() -> None:
    """In a process of its own: determinism cannot be switched off again."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(DETERMINISTIC)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
