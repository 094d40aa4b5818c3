"""The Beam transforms of evaluate."""
