"""Compute item neighbors and a servable co-occurrence model from interactions."""
