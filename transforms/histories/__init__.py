"""Interactions grouped by user: shards of users, and one interaction per user and item."""
