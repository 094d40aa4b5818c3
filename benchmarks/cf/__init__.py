"""Provide the parts of benchmarks/batch_cf.py: inputs, contenders, their processes, the comparison and the tables."""
