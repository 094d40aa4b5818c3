"""Measure the serving client. benchmarks/README.md lists the question of each benchmark."""
