"""Prometheus metrics by subject. Names start with `quorum_`; labels carry routes, towers and stages, never ids."""
