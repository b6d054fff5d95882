"""The client's `embed` with the real application behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import numpy as np
import pytest

from service.client import ApiError, AsyncQuorumClient
from service.engines.fake import FakeEngine
from tests.conftest import MakeApp
from tests.support.images import jpeg


@pytest.fixture
async def quorum(make_app: MakeApp, fake_engine: FakeEngine) -> AsyncIterator[AsyncQuorumClient]:
    app = make_app(engine=fake_engine)
    async with (
        app.router.lifespan_context(app),
        AsyncQuorumClient("http://test", transport=httpx2.ASGITransport(app)) as client,
    ):
        yield client


async def test_texts_files_and_bytes_are_embedded_as_what_they_are(quorum: AsyncQuorumClient, tmp_path: Path) -> None:
    file = tmp_path / "cat.jpg"
    file.write_bytes(jpeg(seed=1))
    found = await quorum.embed(["a cat", file, jpeg(seed=2), jpeg(seed=1)], deadline_ms=5_000)
    assert found.vectors.shape == (4, 20)
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1.0, atol=1e-5)
    np.testing.assert_array_equal(found.vectors[1], found.vectors[3])
    assert (found.model, found.prompt_tokens) == ("committee", 2 * len("a cat"))
    alone = await quorum.embed(["a cat"], model="small")
    np.testing.assert_allclose(found.vectors[0, :8], alone.vectors[0] / np.sqrt(2), rtol=0, atol=1e-7)


async def test_a_bad_input_and_an_unknown_model_are_api_errors(quorum: AsyncQuorumClient) -> None:
    with pytest.raises(ApiError) as caught:
        await quorum.embed(["a cat", b"no image"])
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "invalid_image", "input[1]")
    with pytest.raises(ApiError) as caught:
        await quorum.embed(["a cat"], model="huge")
    assert (caught.value.status, caught.value.param) == (404, "model")
