"""Measure recbeam beside its peers. A benchmark takes a data path and sets no thresholds."""
