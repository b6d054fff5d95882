"""What a server says of itself."""

from __future__ import annotations

import httpx2
import pytest

from service.repository import Zoo
from service.settings import Settings
from tests.support.api import error_of


async def test_backbones_come_cheapest_first_with_the_committee_last(client: httpx2.AsyncClient, fake_zoo: Zoo) -> None:
    listed = (await client.get("/v1/models")).json()
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["small", "large", "committee"]
    committee = listed["data"][-1]
    assert committee["backbones"] == ["small", "large"]
    assert committee["gflops"] == sum(model["gflops"] for model in listed["data"][:-1]) == fake_zoo.gflops
    assert committee["embedding_dim"] == 8 + 12
    assert committee["digest"] == fake_zoo.digest


async def test_each_model_is_shown_alone_as_in_the_list(client: httpx2.AsyncClient) -> None:
    for model in (await client.get("/v1/models")).json()["data"]:
        assert (await client.get(f"/v1/models/{model['id']}")).json() == model


async def test_a_backbone_names_its_digests_and_where_it_came_from(client: httpx2.AsyncClient, fake_zoo: Zoo) -> None:
    shown = (await client.get("/v1/models/small")).json()
    backbone = fake_zoo.backbones[0]
    assert shown["digests"] == {"image": backbone.image.digest, "text": backbone.text.digest}
    assert (shown["image_size"], shown["logit_scale"], shown["temperature"]) == (32, 20.0, 1.0)
    assert shown["provenance"] == "made by a test"


async def test_an_unknown_model_is_a_404_that_names_the_known_ones(client: httpx2.AsyncClient) -> None:
    error = error_of(await client.get("/v1/models/huge"), 404, "not_found")
    assert "small, large, committee" in error["message"]
    assert error["param"] == "model_id"


async def test_info_tells_versions_limits_and_policies(
    client: httpx2.AsyncClient, fake_zoo: Zoo, pytestconfig: pytest.Config
) -> None:
    info = (await client.get("/info")).json()
    assert (info["name"], info["engine"], info["problems"]) == ("quorum", pytestconfig.getoption("--engine"), [])
    assert info["zoo_digest"] == fake_zoo.digest
    assert set(info["backbones"]) == {"small", "large"}
    assert {"quorum", "python", "onnxruntime", "numpy", "pillow"} <= info["versions"].keys()
    assert info["default_policy"] in info["policies"]
    for name in ("max_images", "max_job_images", "max_job_body_bytes"):
        assert info["limits"][name] == getattr(Settings(), name)
    assert not [name for name in info["limits"] if "key" in name or "path" in name]


async def test_the_documentation_page_needs_no_other_host(client: httpx2.AsyncClient) -> None:
    page = (await client.get("/docs")).text
    assert "openapi.json" in page
    assert "https://" not in page
    assert "http://" not in page
