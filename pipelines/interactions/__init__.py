"""Interactions for the trainers from decision and reward logs."""
