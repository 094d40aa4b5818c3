"""Replay the router's policies against known environments, and print their regret beside published figures."""
