"""Rewards joined to decisions: parsing log lines, joining records, and exact statistics."""
