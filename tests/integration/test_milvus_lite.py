"""Galleries in a folder: how it is opened, what a killed process leaves in it, its index, and a disk that fails."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import ConfigurationError, UnavailableError
from service.galleries.base import GallerySpec, GalleryStatus
from service.galleries.milvus import MilvusGalleries
from service.galleries.milvus.definitions import collection_of
from service.galleries.milvus.folder import DROPPED
from service.galleries.milvus.upkeep import FlushRules
from tests.support.gallery_store import gallery, item, soon, vectors

ROOT = Path(__file__).parents[2]
NEVER = FlushRules(items=10**6, few=10**6)
SOON = FlushRules(items=50, few=5, quiet_s=0.02)

Open = Callable[..., Awaitable[MilvusGalleries]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "new" / "galleries.db"


@pytest.fixture
async def opened(folder: Path) -> AsyncIterator[Open]:
    """`opened(rules, index_from)`: the folder again, after closing it."""
    stores: list[MilvusGalleries] = []

    async def open_it(rules: FlushRules = SOON, index_from: int = 10_000) -> MilvusGalleries:
        while stores:
            await stores.pop().close()
        store = MilvusGalleries(str(folder), None, index_from=index_from, rules=rules)
        await store.start()
        stores.append(store)
        return store

    yield open_it
    while stores:
        await stores.pop().close()


async def put(store: MilvusGalleries, spec: GallerySpec, first: int, count: int, seed: int = 0) -> None:
    rows = vectors(first + count, seed=seed)[first:]
    await store.upsert(spec, [item(f"{first + index:04}", row) for index, row in enumerate(rows)], soon())


async def ids_of(store: MilvusGalleries, spec: GallerySpec) -> list[str]:
    page = await store.items(spec, after=None, limit=1_000, where=None, deadline=soon())
    return [each.id for each in page.items]


async def found_by_search(store: MilvusGalleries, spec: GallerySpec) -> list[str]:
    (hits,) = await store.search(
        spec, "committee", vectors(1, seed=3), limit=1_000, where=None, embeddings=False, deadline=soon()
    )
    return sorted(hit.about.id for hit in hits)


async def settled(store: MilvusGalleries, spec: GallerySpec) -> GalleryStatus:
    """Its status once it is loaded."""
    async with asyncio.timeout(20.0):
        while (status := await store.status(spec, soon())).state == "loading":
            pass
    return status


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20.0):
        while not await condition():
            await asyncio.sleep(0.02)


def files(folder: Path, name: str, pattern: str) -> list[Path]:
    return sorted((folder / "collections" / collection_of(name)).glob(pattern))


@pytest.mark.parametrize(
    ("url", "token", "said"),
    [
        ("var/galleries", None, "does not end in .db"),
        ("ftp://host/x.db", None, "no URL of a Milvus server"),
        ("galleries.db", "secret", "QUORUM_GALLERIES_TOKEN is for a Milvus server"),
        ("/proc/galleries.db", None, "cannot be used"),
        (f"{__file__}/galleries.db", None, "cannot be used"),
    ],
)
async def test_a_place_that_cannot_be_is_refused_at_start(url: str, token: str | None, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        await MilvusGalleries(url, token).start()
    assert said in refused.value.message
    assert "secret" not in refused.value.message


async def test_a_file_of_that_name_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "galleries.db"
    path.write_text("somebody's")
    with pytest.raises(ConfigurationError, match="it is a file"):
        await MilvusGalleries(str(path), None).start()
    assert path.read_text() == "somebody's"


async def test_without_the_extra_the_command_that_installs_it_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'quorum-serve\[lite\]'"):
        await MilvusGalleries(str(folder), None).start()


async def test_starting_makes_nothing(folder: Path, opened: Open) -> None:
    store = await opened()
    assert (await store.list(after=None, limit=1, deadline=soon())).items == ()
    assert not folder.exists()


async def test_a_folder_that_another_process_has_is_refused(folder: Path, opened: Open) -> None:
    await (await opened()).create(gallery(), soon())
    check = (
        "import asyncio, sys; from service.galleries.milvus import MilvusGalleries;"
        "asyncio.run(MilvusGalleries(sys.argv[1], None).start())"
    )
    other = subprocess.run(
        [sys.executable, "-c", check, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "ConfigurationError: QUORUM_GALLERIES_URL: another process has" in other.stderr
    assert "QUORUM_CLIENT_URL" in other.stderr


async def test_a_folder_that_another_process_takes_after_the_start_makes_galleries_unavailable(folder: Path) -> None:
    late, quick = MilvusGalleries(str(folder), None), MilvusGalleries(str(folder), None)
    await late.start()
    await quick.start()
    await quick.create(gallery(), soon())
    with pytest.raises(UnavailableError, match="another process has"):
        await late.create(gallery("other"), soon())
    await quick.close()
    await late.create(gallery("other"), soon())
    await late.close()


async def test_collections_of_others_are_left_alone(folder: Path, opened: Open) -> None:
    store = await opened()
    await store.create(gallery(), soon())
    await opened()
    foreign = folder / "collections" / "foreign"
    foreign.mkdir()
    store = await opened()
    assert [spec.name for spec in (await store.list(after=None, limit=9, deadline=soon())).items] == ["pets"]
    assert foreign.exists()


async def test_a_gallery_that_was_half_created_or_half_dropped_is_gone_and_can_be_made(
    folder: Path, opened: Open
) -> None:
    store = await opened()
    spec = await store.create(gallery("dropped"), soon())
    await put(store, spec, 0, 60)
    await store.create(gallery("created"), soon())
    store = await opened()
    await store.close()
    collections = folder / "collections"
    (collections / collection_of("dropped")).rename(collections / f"{DROPPED}1")
    for path in (collections / collection_of("created")).iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    store = await opened()
    assert (await store.list(after=None, limit=9, deadline=soon())).items == ()
    for name in ("dropped", "created"):
        again = await store.create(gallery(name), soon())
        assert await ids_of(store, again) == []
    assert [path.name for path in collections.glob(f"{DROPPED}*")] == []


async def test_a_drop_that_cannot_remove_the_files_is_a_drop(
    folder: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pymilvus import AsyncMilvusClient, MilvusException

    async def fail(*_: object, **__: object) -> None:
        raise MilvusException(1, "the disk")

    store = await opened()
    spec = await store.create(gallery(), soon())
    await put(store, spec, 0, 60)
    with monkeypatch.context() as patch:
        patch.setattr(AsyncMilvusClient, "drop_collection", fail)
        assert await store.drop("pets", soon())
    assert await store.get("pets", soon()) is None
    again = await store.create(gallery(), soon())
    assert await ids_of(store, again) == []
    assert await ids_of(await opened(), again) == []
    assert [path.name for path in (folder / "collections").glob(f"{DROPPED}*")] == []


async def test_a_log_that_was_flushed_but_not_removed_brings_nothing_back(folder: Path, opened: Open) -> None:
    """Killed between the last two steps of a flush; and once more, an older log had survived the one before."""
    store = await opened(NEVER)
    spec = await store.create(gallery(), soon())
    await put(store, spec, 0, 60)
    logs = {path: path.read_bytes() for path in files(folder, "pets", "wal/*")}
    assert logs
    store = await opened(NEVER)  # closing flushed them
    await put(store, spec, 0, 10, seed=7)
    await store.delete(spec, soon(), ids=["0050"])
    store = await opened(NEVER)
    await store.close()
    for path, content in logs.items():
        assert not path.exists()
        path.write_bytes(content)
    store = await opened()
    assert (await store.status(spec, soon())).items == 59
    assert await ids_of(store, spec) == await found_by_search(store, spec)
    assert await store.look_up(spec, ["0050"], soon()) == {}
    found = await store.fetch(spec, ["0003", "0030"], soon())
    assert np.array_equal(found["0003"].embedding, vectors(10, seed=7)[3])
    assert np.array_equal(found["0030"].embedding, vectors(60)[30])


async def test_from_some_size_on_a_gallery_has_an_index_and_keeps_it(opened: Open) -> None:
    store = await opened(index_from=100)
    spec = await store.create(gallery(), soon())
    await put(store, spec, 0, 60)
    assert (await store.status(spec, soon())).index.type == "FLAT"
    await put(store, spec, 60, 60)
    status = await store.status(spec, soon())
    assert (status.index.type, status.index.exact, status.items) == ("IVF_FLAT", True, 120)
    assert await found_by_search(store, spec) == await ids_of(store, spec)
    await store.delete(spec, soon(), ids=[f"{index:04}" for index in range(110)])
    store = await opened(index_from=100)
    assert (await settled(store, spec)).index.type == "IVF_FLAT"
    assert await found_by_search(store, spec) == [f"{index:04}" for index in range(110, 120)]


@pytest.mark.parametrize("missing", [["committee"], ["prefix"], ["committee", "prefix"]])
async def test_an_index_that_was_half_built_is_completed_at_the_start(
    folder: Path, opened: Open, missing: list[str]
) -> None:
    store = await opened(index_from=100)
    spec = await store.create(gallery(), soon())
    await put(store, spec, 0, 120)
    await store.close()
    (manifest,) = files(folder, "pets", "manifest.json")
    content = json.loads(manifest.read_text())
    assert set(content["index_specs"]) == {"committee", "prefix"}
    for column in missing:
        del content["index_specs"][column]
    manifest.write_text(json.dumps(content))
    store = await opened(index_from=100)
    assert (await settled(store, spec)).index.type == "IVF_FLAT"
    assert len(await found_by_search(store, spec)) == 120
    assert set(json.loads(manifest.read_text())["index_specs"]) == {"committee", "prefix"}


async def test_an_index_file_that_was_cut_off_is_built_again(
    folder: Path, opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    store = await opened(index_from=100)
    spec = await store.create(gallery(), soon())
    await put(store, spec, 0, 120)
    await store.close()
    for path in files(folder, "pets", "**/*.idx"):
        path.write_bytes(path.read_bytes()[:100])
    store = await opened(index_from=100)
    assert (await settled(store, spec)).state == "ready"
    assert len(await found_by_search(store, spec)) == 120
    assert "is built again" in caplog.text


async def test_a_gallery_of_which_nothing_was_flushed_is_flushed_once_it_is_quiet(folder: Path, opened: Open) -> None:
    store = await opened(FlushRules(items=1_000, few=10, quiet_s=0.02))
    spec = await store.create(gallery(), soon())
    await put(store, spec, 0, 9)
    await asyncio.sleep(0.1)
    assert not files(folder, "pets", "**/*.parquet")
    await put(store, spec, 9, 1)

    async def flushed() -> bool:
        return bool(files(folder, "pets", "**/*.parquet"))

    await eventually(flushed)
    assert await ids_of(store, spec) == [f"{index:04}" for index in range(10)]


async def test_a_flush_that_fails_stops_the_gallery_and_loses_nothing(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await opened(FlushRules(items=50, few=10**6))
    spec = await store.create(gallery(), soon())
    other = await store.create(gallery("other"), soon())
    await put(store, spec, 0, 30)

    def full_disk(*, frozen_wal: Any, **_: object) -> None:
        frozen_wal._data_sink.close()  # which the library forgets, and Python would complain of
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("milvus_lite.engine.collection.execute_flush", full_disk)
        with pytest.raises(UnavailableError, match="could not be written to disk"):
            await put(store, spec, 30, 30)
    for use in (ids_of(store, spec), put(store, spec, 60, 1), store.delete(spec, soon(), ids=["0000"])):
        with pytest.raises(UnavailableError, match="Mend the disk"):
            await use
    assert (await store.status(spec, soon())).state == "failed"
    await put(store, other, 0, 60)
    assert len(await ids_of(store, other)) == 60
    store = await opened()
    assert await ids_of(store, spec) == [f"{index:04}" for index in range(60)]


async def test_a_log_that_cannot_be_written_stops_the_gallery(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await opened(NEVER)
    spec = await store.create(gallery(), soon())
    await put(store, spec, 0, 30)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("milvus_lite.storage.wal.WAL.write_insert", full_disk)
        with pytest.raises(Exception, match="The gallery store failed"):
            await put(store, spec, 30, 1)
    with pytest.raises(UnavailableError, match="Mend the disk"):
        await put(store, spec, 30, 1)
    store = await opened()
    assert len(await ids_of(store, spec)) == 30


async def test_while_a_gallery_loads_it_says_so_and_calls_wait(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await opened()
    spec = await store.create(gallery(), soon())
    await put(store, spec, 0, 5)
    await store.close()
    gate = asyncio.Event()
    indexed = MilvusGalleries.__init__.__globals__["Calls"].indexed

    async def slow(calls: object, collection: str) -> set[str]:
        await gate.wait()
        return set(await indexed(calls, collection))

    monkeypatch.setattr("service.galleries.milvus.calls.Calls.indexed", slow)
    store = await opened()
    assert await store.get("pets", soon()) == spec
    assert (await store.status(spec, soon())).state == "loading"
    with pytest.raises(UnavailableError, match="still being loaded") as refused:
        await store.look_up(spec, ["0000"], soon(0.1))
    assert refused.value.retry_after_s
    waiting = asyncio.ensure_future(store.look_up(spec, ["0000"], soon()))
    await asyncio.sleep(0.05)
    gate.set()
    assert set(await waiting) == {"0000"}
    assert (await store.status(spec, soon())).state == "ready"


async def test_logs_are_free_of_what_was_expected(
    opened: Open, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO):
        store = await opened(index_from=100)
        spec = await store.create(gallery(), soon())
        await put(store, spec, 0, 120)
        await store.drop("pets", soon())
        await store.create(gallery(), soon())
        await store.close()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert "Traceback" not in capfd.readouterr().err


async def test_a_server_that_is_away_is_unavailable_at_once_and_named() -> None:
    store = MilvusGalleries("http://127.0.0.1:1", "token")
    await store.start()
    with pytest.raises(UnavailableError, match="cannot be reached") as refused:
        await store.get("pets", soon(30.0))
    assert refused.value.retry_after_s
    with pytest.raises(UnavailableError, match="cannot be reached"):
        await store.create(gallery(), soon(30.0))
    await store.close()
