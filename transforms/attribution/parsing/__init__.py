"""Read lines of decision and reward logs to columns."""
