"""Wire the stages of the diagram in pipeline.py as Beam transforms, one in each file."""
