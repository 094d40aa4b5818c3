"""Stores that snapshots are published to."""
