"""The parts of benchmarks/bandit_loop.py."""
