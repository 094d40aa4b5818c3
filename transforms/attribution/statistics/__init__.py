"""Counted decisions become exact, additive rows of statistics."""
