"""Monitoring for operators: metrics, status lines and the exposure test."""
