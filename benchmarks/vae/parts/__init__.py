"""Run vae-train and also export both parts of its blend: the autoencoder and the linear term."""
