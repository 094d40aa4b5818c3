"""Lines of decision and reward logs become columns."""
