"""Benchmarks of the serving client; benchmarks/README.md says which question each answers."""
