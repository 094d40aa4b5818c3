"""Recount a time range, or dead letters whose reason is gone."""
