"""The Beam transforms of off_policy."""
