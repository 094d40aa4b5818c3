"""Train the served model from features: training, choice of the linear term, refit, evaluation on test users."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pipelines.vae_train.config import ModelConfig, TrainingConfig
from pipelines.vae_train.features.side import side_sizes
from pipelines.vae_train.featuring import Features
from transforms import progress

if TYPE_CHECKING:
    from pipelines.vae_train.model.interface import Model
    from pipelines.vae_train.model.linear import Term
    from pipelines.vae_train.training.blend import LinearChoice
    from pipelines.vae_train.training.distribution import Distribution
    from pipelines.vae_train.training.loop import Trained

__all__ = ["Fitted", "assist", "fit"]


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
    """A model ready for export.

    Args:
        linear: As `export_model` takes it.
        share: As `export_model` takes it.
        features: The features of the last training.
        validation: Metrics of the first training by name.
        test: Metrics of the served blend by name, empty without test users.
        training: Facts about the training for the model card.
        blend: Facts about the blend for the model card, None where no linear term was tried.
        journals: Files for the output folder.
        timings: Seconds by stage.
    """

    model: Model
    linear: Term | None
    share: float
    features: Features
    validation: Mapping[str, float]
    test: Mapping[str, float]
    training: Mapping[str, Any]
    blend: Mapping[str, Any] | None
    journals: tuple[str, ...]
    timings: Mapping[str, float]


def fit(
    features: Features,
    work: str,
    model_config: ModelConfig,
    training_config: TrainingConfig,
    linear_items: int,
    refit_features: Callable[[], Features] | None,
    distribution: Distribution,
) -> Fitted:
    """Train, choose the linear term, refit if refit_features is given, and evaluate on the test users.

    The refit trains again from the start, on validation users too.

    Args:
        features: The features of the first training.
        work: Local folder of checkpoints. An interrupted call continues from them.
        model_config: The shape of the model.
        training_config: How the model is trained.
        linear_items: Largest number of items for which EASE is tried; beyond, neighbors are. 0 tries no linear term.
        refit_features: Makes the features of the refit. None leaves the refit out.
        distribution: The workers that train together.

    Returns:
        The trained model.
    """
    from pipelines.vae_train.training.heldout import read_heldout
    from pipelines.vae_train.training.validation import evaluate

    timings: dict[str, float] = {}
    tick = time.perf_counter()
    folder = os.path.join(work, "training")
    trained = _train("vae_train", features, folder, model_config, training_config, distribution)
    timings["training"] = time.perf_counter() - tick
    tick = time.perf_counter()
    choice = _choose(features, trained, linear_items)
    timings["linear term"] = time.perf_counter() - tick
    validation = dict(trained.best_metrics)
    training = {
        "best_epoch": trained.best_epoch,
        "epochs_run": trained.epochs_run,
        "steps": trained.steps,
        "refit": refit_features is not None,
    }
    journals = (os.path.join(folder, "training.jsonl"), os.path.join(folder, "tensorboard"))
    if refit_features is not None:
        tick = time.perf_counter()
        features = refit_features()
        folder = os.path.join(work, "refit")
        epochs = trained.best_epoch
        trained = _train("refit", features, folder, model_config, training_config, distribution, epochs)
        timings["refit"] = time.perf_counter() - tick
    share = 1.0 if choice is None else choice.share
    with progress.display("linear term and test users"):
        linear = _linear(features, choice)
        heldout = read_heldout(features.path, "test", features.items, _sides(features))
        test = evaluate(_blended(trained.model, linear, share), heldout, progress=_count_tested)
    blend = None if choice is None else _described(choice)
    return Fitted(
        trained.model, linear, share, features, validation, test, training, blend, journals, timings
    )  # fmt: skip


def assist(
    features: Features,
    work: str,
    model_config: ModelConfig,
    training_config: TrainingConfig,
    refit_features: Callable[[], Features] | None,
    distribution: Distribution,
) -> int:
    """Take part as a further worker in the trainings of `fit` on the chief.

    Args:
        features: The features of the first training.
        work: Local folder of checkpoints. An interrupted call continues from them.
        model_config: The shape of the model.
        training_config: How the model is trained.
        refit_features: Makes the features of the refit. None leaves the refit out.
        distribution: The workers that train together.

    Returns:
        The number of epochs of the first training.
    """
    folder = os.path.join(work, "training")
    trained = _train("vae_train", features, folder, model_config, training_config, distribution)
    if refit_features is not None:
        folder = os.path.join(work, "refit")
        _train("refit", refit_features(), folder, model_config, training_config, distribution, trained.best_epoch)
    return trained.epochs_run


def _train(
    title: str,
    features: Features,
    folder: str,
    model_config: ModelConfig,
    training_config: TrainingConfig,
    distribution: Distribution,
    epochs: int | None = None,
) -> Trained:
    from pipelines.vae_train.training.display import open_display
    from pipelines.vae_train.training.loop import train

    with open_display(title) as shown:
        return train(
            features.path,
            folder,
            features.items,
            model_config,
            training_config,
            sides=side_sizes(os.path.join(features.path, "transform")),
            progress=shown,
            stop_after_epoch=epochs,
            distribution=distribution,
        )


def _choose(features: Features, trained: Trained, linear_items: int) -> LinearChoice | None:
    if linear_items == 0:
        return None
    from pipelines.vae_train.training.blend import choose_linear
    from pipelines.vae_train.training.heldout import read_heldout

    heldout = read_heldout(features.path, "validation", features.items, _sides(features))
    with progress.display("linear term"):
        return choose_linear(features.path, heldout, trained.model.scores, limit_items=linear_items)


def _linear(features: Features, choice: LinearChoice | None) -> Term | None:
    """Fit the chosen term to all users but the test users. Validation users have done their work."""
    if choice is None or choice.rule is None:
        return None
    from pipelines.vae_train.training.blend import read_matrix

    progress.expect("linear terms", 1)
    progress.advance("linear terms", 0)
    linear = choice.rule.fit(read_matrix(features.path, features.items, ("train", "validation")))
    progress.advance("linear terms", 1)
    return linear


def _count_tested(done: int, users: int) -> None:
    progress.expect("users tested", users)
    progress.reach("users tested", done)


def _blended(model: Model, linear: Term | None, share: float) -> Callable[[Any, Mapping[str, Any]], Any]:
    from pipelines.vae_train.model.linear import blend

    def score(item_ids: Any, sides: Mapping[str, Any]) -> Any:
        scores = model.scores(item_ids, sides)
        return scores if linear is None else blend(scores, linear.scores(item_ids), share)

    return score


def _described(choice: LinearChoice) -> dict[str, Any]:
    """Return the validation metrics of every blend, the best blend of each share, and the choice."""
    best: dict[float, float] = {}
    for score in choice.scores:
        best[score.share] = max(score.ndcg, best.get(score.share, 0.0))
    table = {f"{share:.1f}": round(ndcg, 6) for share, ndcg in sorted(best.items())}
    chosen = max((score.ndcg for score in choice.scores), default=None)
    return {
        "term": None if choice.rule is None else str(choice.rule),
        "lambda": getattr(choice.rule, "strength", None),
        "model_share": choice.share,
        "ndcg@100": chosen,
        "ndcg@100_by_share": table,
    }


def _sides(features: Features) -> list[str]:
    return list(side_sizes(os.path.join(features.path, "transform")))
