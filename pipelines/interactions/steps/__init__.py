"""The Beam steps of interactions."""
