"""Compute the features of a request with the graph that created the training examples."""

from __future__ import annotations

import tensorflow as tf

from pipelines.vae_train.features.known import known_history
from pipelines.vae_train.features.preprocessing import HISTORY, ITEM_IDS, SIDE_PREFIX

__all__ = ["ServingFeatures"]


class ServingFeatures(tf.Module):  # type: ignore[misc]
    """The features of a servable model.

    The vocabulary and the side tables are saved with the model, so a saved model does not need the folder.

    Args:
        transform_dir: The folder transform/ that the pipeline wrote.
    """

    def __init__(self, transform_dir: str) -> None:
        import tensorflow_transform as tft

        super().__init__()
        self.tft_layer = tft.TFTransformOutput(transform_dir).transform_features_layer()

    def __call__(self, history: tf.Tensor) -> dict[str, tf.RaggedTensor]:
        """Compute the features of histories.

        Args:
            history: Item ids, string [b, n], oldest first. "" is padding at any place.

        Returns:
            item_ids and side_<column>, RaggedTensors int64 [b, (m)]: the items in the vocabulary. A repeated item keeps
            only its newest place.
        """
        present = tf.ragged.boolean_mask(history, tf.not_equal(history, ""))
        features = self.tft_layer({HISTORY: present})
        sides = {name: each for name, each in features.items() if name.startswith(SIDE_PREFIX)}
        item_ids, sides = known_history(features[ITEM_IDS], sides)
        return {ITEM_IDS: item_ids, **sides}
