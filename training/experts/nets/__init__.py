"""Experts trained here, on scenes: small networks, their training and their accuracy."""
