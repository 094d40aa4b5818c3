"""Parts of benchmarks/batch_cf.py: inputs, contenders, the processes that run them, the check, the tables."""
