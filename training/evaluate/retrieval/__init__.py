"""Retrieval by a weighed committee: fitting its controllers and its cascade, and measuring both.

Axes: b backbones in the zoo's order, n queries, m items of a gallery, d widths.
"""
