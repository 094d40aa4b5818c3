"""What Beam's --setup_file runs to build the source package for workers; all metadata is in pyproject.toml."""

from setuptools import setup

setup()
