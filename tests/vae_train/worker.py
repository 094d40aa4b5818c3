"""A training run in a process of its own, for tests that kill it or start several: python -m tests.vae_train.worker.

Arguments: features_dir, work_dir, items, a JSON object of model settings, one of training settings, cpus (logical CPU
devices). Writes the final weights to work_dir/weights-TASK.npz, TASK from TF_CONFIG or 0.
"""

from __future__ import annotations

import json
import os
import sys

import numpy as np


def main(argv: list[str]) -> None:
    """Train as the arguments say."""
    features_dir, work_dir, items, model, training, cpus = argv
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    if int(cpus) > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(cpus))
    from pipelines.vae_train.config import ModelConfig, TrainingConfig
    from pipelines.vae_train.training.loop import train

    settings = TrainingConfig(**json.loads(training))
    trained = train(features_dir, work_dir, int(items), ModelConfig(**json.loads(model)), settings)
    task = json.loads(os.environ.get("TF_CONFIG", '{"task": {"index": 0}}'))["task"]["index"]
    arrays = {str(place): variable.numpy() for place, variable in enumerate(trained.model.variables)}
    np.savez(os.path.join(work_dir, f"weights-{task}.npz"), best=trained.best_epoch, **arrays)


if __name__ == "__main__":
    main(sys.argv[1:])
