"""Decisions and rewards to arm statistics."""
