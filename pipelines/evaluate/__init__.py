"""Models and held-out interactions to ranking metrics, baselines and a promotion gate."""
