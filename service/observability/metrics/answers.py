"""Metrics of what was answered: images, inputs, queries, items, and the work that they took."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Summary


class AnswerMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._images = Counter(
            "quorum_images_total", "Classified images by how they were left.", ["exit_reason"], registry=registry
        )
        self._weights = Summary(
            "quorum_backbone_weight", "Weights of votes in classifications.", ["backbone"], registry=registry
        )
        self._embedded = Counter(
            "quorum_embedded_total", "Inputs of embeddings calls that were answered.", ["kind"], registry=registry
        )
        self._queries = Counter(
            "quorum_queries_total",
            "Queries of galleries by policy and how they were left.",
            ["policy", "exit_reason"],
            registry=registry,
        )
        self._items = Counter(
            "quorum_items_total", "Items sent to galleries by what became of them.", ["change"], registry=registry
        )
        self._gflops = Counter("quorum_gflops_total", "Work done for images and queries.", registry=registry)

    def image_classified(self, exit_reason: str, gflops: float) -> None:
        self._images.labels(exit_reason).inc()
        self._gflops.inc(gflops)

    def voted(self, backbone: str, weight: float) -> None:
        self._weights.labels(backbone).observe(weight)

    def embedded(self, images: int, texts: int, gflops: float) -> None:
        self._embedded.labels("image").inc(images)
        self._embedded.labels("text").inc(texts)
        self._gflops.inc(gflops)

    def query_answered(self, policy: str, exit_reason: str, gflops: float) -> None:
        self._queries.labels(policy, exit_reason).inc()
        self._gflops.inc(gflops)

    def items_added(self, changes: Iterable[str], gflops: float) -> None:
        for change in changes:
            self._items.labels(change).inc()
        self._gflops.inc(gflops)
