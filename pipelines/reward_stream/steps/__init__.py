"""The Beam steps of reward_stream, one transform a module."""
