"""The features of a request, by the graph that made the training examples."""

from __future__ import annotations

import tensorflow as tf

from pipelines.vae_train.features.known import known_history
from pipelines.vae_train.features.preprocessing import HISTORY, ITEM_IDS, SIDE_PREFIX

__all__ = ["ServingFeatures"]


class ServingFeatures(tf.Module):  # type: ignore[misc]
    """Part of a servable model; saved with it, with vocabulary and side tables, it no longer needs the directory."""

    def __init__(self, transform_dir: str) -> None:
        """transform_dir: what the pipeline wrote to transform/."""
        import tensorflow_transform as tft

        super().__init__()
        self.tft_layer = tft.TFTransformOutput(transform_dir).transform_features_layer()

    def __call__(self, history: tf.Tensor) -> dict[str, tf.RaggedTensor]:
        """History: string [b, n], oldest first, padded with "" anywhere.

        Returns item_ids and side_<column>, ragged int64 [b, (m)]: known items, the newest place of one that repeats.
        """
        present = tf.ragged.boolean_mask(history, tf.not_equal(history, ""))
        features = self.tft_layer({HISTORY: present})
        sides = {name: each for name, each in features.items() if name.startswith(SIDE_PREFIX)}
        item_ids, sides = known_history(features[ITEM_IDS], sides)
        return {ITEM_IDS: item_ids, **sides}
