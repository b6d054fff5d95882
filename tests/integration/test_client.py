"""The client with the real application behind it: both sides mean the same by every field."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from service.api.model_schemas import BackboneOut, CommitteeOut
from service.api.schemas import ItemError, ResultOut
from service.client import ApiError, AsyncQuorumClient
from service.engines.fake import FakeEngine
from tests.conftest import MakeApp
from tests.support.images import jpeg


@pytest.fixture
async def quorum(make_app: MakeApp, fake_engine: FakeEngine) -> AsyncIterator[AsyncQuorumClient]:
    """The client with the real application behind it."""
    app = make_app(engine=fake_engine, max_images=4)
    async with (
        app.router.lifespan_context(app),
        AsyncQuorumClient("http://test", transport=httpx2.ASGITransport(app)) as client,
    ):
        yield client


async def test_images_and_options_arrive_as_the_server_expects_them(quorum: AsyncQuorumClient, tmp_path: Path) -> None:
    file = tmp_path / "naïve name;.jpg"
    file.write_bytes(jpeg(seed=1))
    answer = await quorum.classify(
        [file, jpeg(seed=2)],
        labels=("Käse", "chat noir", "犬"),
        templates=["une photo de {}."],
        policy="mean_logit",
        backbones=["small", "large"],
        top_k=2,
        deadline_ms=5_000,
        explain=False,
    )
    first, second = answer.results
    assert isinstance(first, ResultOut)
    assert isinstance(second, ResultOut)
    assert len(first.predictions) == 2
    assert {prediction.label for prediction in first.predictions} <= {"Käse", "chat noir", "犬"}
    assert (first.policy, first.backbones) == ("mean_logit", None)
    assert answer.usage.backbone_calls == {"small": 2, "large": 2}


async def test_a_broken_image_among_several_is_an_item_error(quorum: AsyncQuorumClient) -> None:
    answer = await quorum.classify([b"broken", jpeg()], labels=["cat", "dog"])
    assert [type(item) for item in answer.results] == [ItemError, ResultOut]
    with pytest.raises(ApiError) as caught:
        await quorum.classify([b"broken"], labels=["cat", "dog"])
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "invalid_image", "images[0]")


async def test_what_the_client_leaves_to_the_server_is_judged_there(quorum: AsyncQuorumClient) -> None:
    with pytest.raises(ApiError) as caught:
        await quorum.classify([jpeg()])
    assert caught.value.code == "invalid_request"
    with pytest.raises(ApiError) as caught:
        await quorum.classify([jpeg()] * 5, labels=["cat"])
    assert caught.value.status == 413


async def test_a_label_set_lives_from_put_to_delete(quorum: AsyncQuorumClient) -> None:
    created = await quorum.put_label_set("pets", {"cat": ["cat", "kitten"], "dog": ["dog"]}, ["a {}."])
    assert created.labels == {"cat": ["cat", "kitten"], "dog": ["dog"]}
    await quorum.put_label_set("fruit", ["apple", "pear"])
    assert (await quorum.get_label_set("pets")).digest == created.digest
    assert [found.name async for found in quorum.list_label_sets(page_size=1)] == ["fruit", "pets"]
    answer = await quorum.classify([jpeg()], label_set="pets")
    assert answer.label_set == "pets"
    await quorum.delete_label_set("pets")
    with pytest.raises(ApiError) as caught:
        await quorum.get_label_set("pets")
    assert (caught.value.status, caught.value.code) == (404, "not_found")


async def test_it_knows_what_the_server_is_made_of(quorum: AsyncQuorumClient) -> None:
    models = await quorum.models()
    assert [model.id for model in models.data] == ["small", "large", "committee"]
    assert isinstance(await quorum.model("small"), BackboneOut)
    assert isinstance(await quorum.model("committee"), CommitteeOut)
    assert (await quorum.info()).limits["max_images"] == 4
    assert await quorum.healthy()


async def test_a_full_server_is_asked_again_when_it_has_room(make_app: MakeApp, fake_engine: FakeEngine) -> None:
    app = make_app(engine=fake_engine, max_inflight_requests=1)
    slept_s: list[float] = []

    async def make_room(seconds: float) -> None:
        slept_s.append(seconds)
        permit.__exit__(None, None, None)

    async with app.router.lifespan_context(app):
        permit = app.state.services.admission.permit()
        permit.__enter__()
        transport = httpx2.ASGITransport(app)
        async with AsyncQuorumClient("http://test", transport=transport, sleep=make_room) as client:
            answer = await client.classify([jpeg()], labels=["cat", "dog"])
    assert answer.usage.images == 1
    assert len(slept_s) == 1
    assert slept_s[0] >= 1.0
