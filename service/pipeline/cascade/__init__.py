"""Cascades: what they are, how one is searched, and how its promise is tested."""
