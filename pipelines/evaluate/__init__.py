"""Measure models on held-out interactions: ranking metrics, baselines and a promotion gate."""
