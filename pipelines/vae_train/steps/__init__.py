"""The stages of the diagram in pipeline.py, one transform a file."""
