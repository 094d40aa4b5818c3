"""Write the parts of a run's output folder: the served model, the features and the journals of the training."""

from __future__ import annotations

import os
import shutil

from pipelines.vae_train.config import ModelConfig
from pipelines.vae_train.fitting import Fitted
from transforms.files import storage
from transforms.interactions.times import rfc3339
from transforms.runs.run import Run
from transforms.runs.run_folder import RunFolder

__all__ = ["PARTS", "bring", "export"]

PARTS = ("transform", "examples", "vocabulary.parquet", "dead_letters", "training.jsonl", "tensorboard", "model")
"""The output folder without run.json. The first four are features."""


def export(run: Run, folder: RunFolder, serving_top_k: int, model: ModelConfig, fitted: Fitted) -> None:
    """Write the served model to the run's folder, with its model card."""
    from pipelines.vae_train.export.saved_model import export_model

    facts = fitted.features.facts
    times = {"from": facts["oldest_timestamp_us"], "to": facts["newest_timestamp_us"]}
    card = run.model_card(
        model=model.kind,
        items=facts["items"],
        users=facts["train_users"],
        interactions=facts["interactions"],
        data_window={name: None if time_us is None else rfc3339(time_us) for name, time_us in times.items()},
        validation=dict(fitted.validation),
        test=dict(fitted.test),
        training=dict(fitted.training),
        linear=fitted.blend,
        sampled_softmax=facts["items"] > model.sampled_items,
    )
    with storage.local_place(folder.path("model")) as local:
        export_model(
            fitted.model,
            fitted.linear,
            fitted.share,
            fitted.features.path,
            local,
            serving_top_k=serving_top_k,
            model_card=card,
        )


def bring(folder: RunFolder, fitted: Fitted) -> None:
    """Copy features and journals into the run's folder.

    They stay in the workspace too, for a run that is killed before its commit. Locally the copies are links to the
    same files, which are not written any more.
    """
    sources = [os.path.join(fitted.features.path, name) for name in PARTS[:4]]
    for source in [*sources, *fitted.journals]:
        if not os.path.exists(source):
            continue
        target = folder.path(os.path.basename(source))
        if os.path.isdir(source):
            if storage.is_local(target):
                shutil.copytree(source, target, copy_function=_link)
            else:
                storage.copy_folder(source, target)
        elif storage.is_local(target):
            _link(source, target)
        else:
            storage.copy_file(source, target)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk
        shutil.copy2(source, target)
