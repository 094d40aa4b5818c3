"""Provide the reference model of the vae_train benchmarks and their measurement of commands."""
