"""The Beam transforms of the experiment pipeline."""
