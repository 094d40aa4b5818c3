"""Interactions to TF-Transform features, a variational autoencoder and a servable model."""
