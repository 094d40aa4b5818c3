"""Statistics of a time range, and what becomes of dead letters once their reason is gone."""
