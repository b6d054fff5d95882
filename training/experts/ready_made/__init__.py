"""Experts that others trained: weights are fetched by name."""
