"""The TensorFlow-free client of the served recommenders, and the contracts it shares with the pipelines."""
