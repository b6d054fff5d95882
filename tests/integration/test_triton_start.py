"""A gateway that starts beside a real Triton server: on the same repository, on another one, or on none yet."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx2
import numpy as np
import pytest

from service.deadline import Deadline
from service.engines.triton import TritonEngine, TritonOptions
from service.errors import RepositoryError
from service.repository import load_zoo
from tests.conftest import MakeApp, Serve, free_port
from tests.support.api import classify_call, classify_one, error_of
from tests.support.images import jpeg
from tests.support.pipeline import Observations
from tests.support.repository import Spec, write_repository
from tests.support.triton import TritonServer, replace_weights, triton_server

Change = Callable[[Path], object]


def with_other_weights(repository: Path) -> None:
    replace_weights(repository, "small_image")


def with_larger_images(repository: Path) -> None:
    shutil.rmtree(repository / "small_image")
    shutil.rmtree(repository / "small_text")
    write_repository(repository, [Spec("small", image_size=40, gflops=0.25)])


def with_larger_batches(repository: Path) -> None:
    _edit(repository, "large_text", "max_batch_size: 64", "max_batch_size: 128")


def with_another_temperature(repository: Path) -> None:
    for tower in ("large_image", "large_text"):
        _edit(repository, tower, 'string_value: "1.0"', 'string_value: "1.25"')


def with_one_backbone_more(repository: Path) -> None:
    write_repository(repository, [Spec("third", gflops=3.0)])


def _edit(repository: Path, tower: str, old: str, new: str) -> None:
    path = repository / tower / "config.pbtxt"
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (with_other_weights, ["small_image: quorum.sha256 is ", "{theirs}", "{ours}"]),
        (with_larger_images, ["small_image: input is ", "[32, 32, 3]", "[40, 40, 3]"]),
        (with_larger_batches, ["large_text: max_batch_size is 64 ", "and 128 in"]),
        (with_another_temperature, ["large_image: quorum.temperature is 1.0 ", "and 1.25 in"]),
        (with_one_backbone_more, ["third_image: ", "has not loaded it"]),
    ],
)
async def test_a_server_with_something_else_is_refused_by_name(
    triton: TritonServer, fake_repository: Path, repository_copy: Path, change: Change, named: list[str]
) -> None:
    change(repository_copy)
    digests = {
        "theirs": load_zoo(fake_repository).backbones[0].image.digest,
        "ours": load_zoo(repository_copy).backbones[0].image.digest,
    }
    options = TritonOptions((triton.address,), start_wait_s=30, max_rows=64)
    engine = TritonEngine(load_zoo(repository_copy), options, Observations())
    with pytest.raises(RepositoryError) as refused:
        await engine.start()
    for words in named:
        assert words.format(**digests) in refused.value.message


async def test_the_api_answers_on_triton(triton: TritonServer, make_app: MakeApp, serve: Serve) -> None:
    async with serve(make_app(engine="triton", triton_urls=(triton.address,))) as client:
        ours = await classify_one(client, jpeg())
    async with serve(make_app(engine="onnx")) as client:
        theirs = await classify_one(client, jpeg())
    assert list(ours["backbones"]) == ["small", "large"]
    for mine, other in zip(ours["predictions"], theirs["predictions"], strict=True):
        assert mine["label"] == other["label"]
        assert mine["probability"] == pytest.approx(other["probability"], abs=1e-5)


async def test_a_gateway_starts_without_a_server_and_says_so_to_callers_alone(make_app: MakeApp, serve: Serve) -> None:
    app = make_app(engine="triton", triton_urls=(f"127.0.0.1:{free_port()}",), triton_start_wait_s=0.5)
    async with serve(app) as client:
        response = await client.post("/v1/classify", json=classify_call(jpeg()))
        error_of(response, 503, "unavailable")
        assert int(response.headers["retry-after"]) >= 1
        for path in ("/healthz", "/readyz"):
            assert (await client.get(path)).status_code == 200, "a restart of this process would not help"


async def test_a_name_that_stands_for_nothing_yet_is_looked_up_again(
    triton: TritonServer, make_app: MakeApp, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.engines.triton.servers.RESOLVE_EVERY_S", 0.2)
    known: set[str] = set()

    async def resolve(_: str, __: int) -> set[str]:
        if not known:
            raise OSError("no such name")
        return set(known)

    monkeypatch.setattr("service.engines.triton.servers._resolve", resolve)
    app = make_app(engine="triton", triton_urls=("triton.test:8001",), triton_start_wait_s=0.5)
    async with serve(app) as client:
        error_of(await client.post("/v1/classify", json=classify_call(jpeg())), 503, "unavailable")
        known.add(f"ipv4:{triton.address}")
        await until_answered(client)
        known.clear()
        known.add(f"ipv4:127.0.0.1:{free_port()}")
        response = await client.post("/v1/classify", json=classify_call(jpeg()))
        for seed in range(1, 200):
            response = await client.post("/v1/classify", json=classify_call(jpeg(seed=seed)))
            if response.status_code == 503:
                break
        error_of(response, 503, "unavailable")


async def test_two_servers_with_different_towers_serve_one_gateway(
    fake_repository: Path, tmp_path: Path, make_app: MakeApp, serve: Serve
) -> None:
    cheap = triton_server(fake_repository, tmp_path, models=("small_image", "small_text"))
    with ExitStack() as stack:
        first = stack.enter_context(cheap)
        other = f"127.0.0.1:{free_port()}"
        app = make_app(engine="triton", triton_urls=(first.address, other), triton_start_wait_s=1.0)
        async with serve(app) as client:
            alone = await classify_one(client, jpeg())
            assert (alone["degraded"], alone["failed"]) == (True, ["large"])
            assert (await client.get("/readyz")).status_code == 200
        expensive = triton_server(fake_repository, tmp_path, models=("large_image", "large_text"))
        second = stack.enter_context(expensive)
        app = make_app(engine="triton", triton_urls=(first.address, second.address), triton_start_wait_s=30.0)
        async with serve(app) as client:
            both = await classify_one(client, jpeg())
            assert (both["degraded"], list(both["backbones"])) == (False, ["small", "large"])


async def until_answered(client: httpx2.AsyncClient) -> None:
    for seed in range(400):
        response = await client.post("/v1/classify", json=classify_call(jpeg(seed=seed), deadline_ms=500))
        if response.status_code == 200:
            return
    raise AssertionError(response.text)


async def test_a_bad_row_in_a_real_batch_is_its_own_failure(triton: TritonServer, fake_repository: Path) -> None:
    zoo = load_zoo(fake_repository)
    engine = TritonEngine(zoo, TritonOptions((triton.address,), start_wait_s=30, max_rows=64), Observations())
    await engine.start()
    good = np.full((32, 32, 3), 7, dtype=np.uint8)
    outcomes = await engine.embed("small_image", [good, good[:8], good], Deadline.after(10))
    await engine.close()
    assert [isinstance(outcome, np.ndarray) for outcome in outcomes] == [True, False, True]
