"""The arrows of `pipeline.py`: Beam transforms that wire the pure modules beside this folder, and nothing else."""
