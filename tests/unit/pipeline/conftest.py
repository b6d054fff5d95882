from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.engines.fake import FakeEngine
from service.pipeline.embed import Embedder
from service.repository import Zoo
from tests.support.pipeline import Observations, embedder_on


@pytest.fixture
def observations() -> Observations:
    return Observations()


@pytest.fixture
def embedder(fake_zoo: Zoo, fake_engine: FakeEngine, observations: Observations) -> Iterator[Embedder]:
    with embedder_on(fake_zoo, fake_engine, observations) as embedder:
        yield embedder
