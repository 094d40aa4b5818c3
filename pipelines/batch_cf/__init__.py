"""Interactions to item neighbors and a servable co-occurrence model."""
