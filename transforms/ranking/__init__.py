"""Ranked lists of items and what they are worth: the arithmetic that trainers and evaluate share."""
