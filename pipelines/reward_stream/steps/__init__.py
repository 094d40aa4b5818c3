"""Beam transforms of reward_stream, one per module."""
