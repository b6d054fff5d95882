"""The pipeline's parts put together for tests, without an application around them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from service.engines.base import Engine
from service.pipeline.embed import Embedder
from service.pipeline.inputs.decode import ImageLimits
from service.pipeline.inputs.tokenize import TextTokenizer
from service.repository import Zoo
from service.stores.memory import MemoryEmbeddingCache

LIMITS = ImageLimits(max_bytes=1_000_000, max_pixels=1_000_000)


class Observations:
    """An observer of everything that remembers what it was told."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, int]] = []
        self.hits = 0
        self.misses = 0
        self.servers: list[tuple[int, int]] = []
        self.rows: list[tuple[str, str]] = []

    def batch_done(self, tower: str, rows: int, seconds: float) -> None:
        assert seconds >= 0
        self.batches.append((tower, rows))

    def row_waited(self, tower: str, seconds: float) -> None:
        assert tower
        assert seconds >= 0

    def triton_servers(self, connected: int, known: int) -> None:
        self.servers.append((connected, known))

    def rows_asked(self, tower: str, outcomes: Iterable[str]) -> None:
        self.rows += [(tower, outcome) for outcome in outcomes]

    def cache_looked_up(self, hits: int, misses: int) -> None:
        self.hits += hits
        self.misses += misses


@contextmanager
def embedder_on(zoo: Zoo, engine: Engine, observations: Observations) -> Iterator[Embedder]:
    with ThreadPoolExecutor(2) as executor:
        yield Embedder(
            engine=engine,
            cache=MemoryEmbeddingCache(max_bytes=1_000_000, ttl_s=60),
            tokenizers={backbone.text.name: TextTokenizer(backbone.text) for backbone in zoo.backbones},
            executor=executor,
            limits=LIMITS,
            target_size=zoo.largest_image_size,
            observer=observations,
        )
