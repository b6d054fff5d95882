"""Adapter ensembles against their baselines: many small fits, and what they say about the paper's claims."""
