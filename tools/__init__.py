"""Contain scripts for developers of this repository. They are not installed."""
