"""Run vae-train with the given flags. Before its export, export the parts of the blend beside --output.

OUTPUT-autoencoder is the autoencoder alone, OUTPUT-linear_term the linear term alone. A blend without a linear term has
no parts.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.vae_train import run as stages
from pipelines.vae_train.command import main as vae_train
from pipelines.vae_train.config import ModelConfig
from pipelines.vae_train.fitting import Fitted
from transforms.runs.run import Run
from transforms.runs.run_folder import RunFolder

PARTS = ("autoencoder", "linear_term")


def main(argv: Sequence[str]) -> int:
    """Run vae-train, with an export of more models."""
    [output] = [flag.partition("=")[2] for flag in argv if flag.startswith("--output=")]
    whole = stages.export

    def export(run: Run, folder: RunFolder, serving_top_k: int, model: ModelConfig, fitted: Fitted) -> None:
        from pipelines.vae_train.export.saved_model import export_model

        for part, linear, share in zip(PARTS, (None, fitted.linear), (1.0, 0.0), strict=True):
            if fitted.linear is not None:
                features = fitted.features.path
                export_model(fitted.model, linear, share, features, f"{output}-{part}", model_card={"part": part})
        whole(run, folder, serving_top_k, model, fitted)

    stages.export = export
    return vae_train(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
