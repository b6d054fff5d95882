"""Pseudo-labels: how they are made, kept and found again."""
