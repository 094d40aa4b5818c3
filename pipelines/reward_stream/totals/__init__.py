"""Totals of all shards: rows, counters, segments and guardrails."""
