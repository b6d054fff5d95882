"""From sources into a gallery: what is sent, in what batches, and what is left alone. No test here sleeps."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.cli.entries import Entry, ReadLimits, UnreadableError
from service.cli.indexing import BATCH_BYTES, IN_FLIGHT, Indexer, Tally, delete, ids_of, limits_of
from service.cli.item_fields import FieldRows
from service.client import ApiError
from tests.support.gallery_server import GalleryServer, refusal

GENEROUS = {"max_images": 4}


class Source:
    """Entries with contents that are made when they are read."""

    def __init__(self, **contents: bytes | str | UnreadableError) -> None:
        self.made = {name: contents[name] for name in contents}
        self.entries = [
            Entry(name, f"photos/{name}", "text" if isinstance(content, str) else "image")
            for name, content in contents.items()
        ]
        self.skipped: list[str] = []
        self.read = 0

    def contents(self, limits: ReadLimits) -> Iterator[tuple[Entry, bytes | str | UnreadableError]]:
        assert limits.image_bytes > 0
        for entry in self.entries:
            if entry.problem is None:
                self.read += 1
                yield entry, self.made[entry.id]


def images(count: int, start: int = 0) -> Source:
    return Source(**{f"{number:03}": b"image %d" % number for number in range(start, start + count)})


async def indexed(server: GalleryServer, *sources: Source, rows: FieldRows | None = None) -> Tally:
    async with server.client() as client:
        gallery = await client.gallery("shop")
        indexer = Indexer(client, gallery, await limits_of(client), lambda _: None)
        await indexer.index(sources, rows)
    return indexer.tally


def rows_of(**rows: dict[str, Any]) -> FieldRows:
    return FieldRows(Path("fields.jsonl"), texts=False, rows=rows)


async def test_everything_arrives_in_batches_that_the_server_takes() -> None:
    server = GalleryServer({}, max_images=4)
    tally = await indexed(server, images(6), images(5, start=6))
    assert tally.changes == {"created": 11}
    assert sorted(server.items) == [f"{number:03}" for number in range(11)]
    assert [len(batch) for batch in server.batches] == [4, 4, 3]


async def test_what_is_there_unchanged_is_looked_up_and_not_sent() -> None:
    server = GalleryServer({}, max_images=4)
    await indexed(server, images(8))
    del server.items["003"]
    server.items["005"]["digest"] = "another"
    server.batches.clear()
    tally = await indexed(server, images(9))
    assert tally.changes == {"unchanged": 6, "created": 2, "updated": 1}
    assert sorted(name for batch in server.batches for name in batch) == ["003", "005", "008"]


async def test_a_text_in_place_of_an_image_is_a_change() -> None:
    server = GalleryServer({})
    await indexed(server, Source(a=b"same"))
    assert (await indexed(server, Source(a="same"))).changes == {"updated": 1}


async def test_fields_that_nothing_is_said_about_stay_as_they_are() -> None:
    server = GalleryServer({"year": "integer", "source": "string"})
    await indexed(server, Source(a=b"1", b=b"2"), rows=rows_of(a={"year": 2024}))
    assert server.items["a"]["fields"] == {"year": 2024, "source": None}
    assert (await indexed(server, Source(a=b"1", b=b"2"))).changes == {"unchanged": 2}
    assert (await indexed(server, Source(a=b"changed", b=b"2"))).changes == {"updated": 1, "unchanged": 1}
    assert server.items["a"]["fields"] == {"year": 2024, "source": None}


async def test_fields_that_are_given_replace_all() -> None:
    server = GalleryServer({"year": "integer", "source": "string"})
    await indexed(server, Source(a=b"1"), rows=rows_of(a={"year": 2024}))
    tally = await indexed(server, Source(a=b"1"), rows=rows_of(a={"source": "web"}))
    assert tally.changes == {"updated": 1}
    assert server.items["a"]["fields"] == {"year": None, "source": "web"}


async def test_the_files_fields_are_put_over_those_that_came_with_the_item() -> None:
    server = GalleryServer({"year": "integer", "source": "string"})
    source = Source(a=b"1")
    source.entries = [Entry("a", "x", "image", {"year": 1, "source": "tar", "unknown": [1]})]
    await indexed(server, source, rows=rows_of(a={"year": 2}))
    assert server.items["a"]["fields"] == {"year": 2, "source": "tar"}


async def test_what_fails_is_told_of_and_stops_nobody() -> None:
    server = GalleryServer({"year": "integer"})
    source = Source(good=b"1", bad=b"broken", gone=UnreadableError("No such file"), odd=b"2")
    source.entries.append(Entry("long", "photos/long", "image", problem="its id is too long"))
    tally = await indexed(server, source, rows=rows_of(odd={"year": "soon"}))
    assert tally.changes == {"created": 1}
    assert {(failure.id, failure.place, failure.reason) for failure in tally.failures} == {
        ("long", "photos/long", "its id is too long"),
        ("gone", "photos/gone", "No such file"),
        ("odd", "photos/odd", "year takes a whole number, and 'soon' is none"),
        ("bad", "photos/bad", "It is broken."),
    }
    assert tally.done == 5


async def test_a_broken_image_alone_in_its_batch_is_its_own_failure() -> None:
    tally = await indexed(GalleryServer({}), Source(bad=b"broken"))
    assert [failure.reason for failure in tally.failures] == ["It is broken."]


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_refused_batch_is_sent_in_halves_until_the_culprit_is_found(status: int) -> None:
    server = GalleryServer({}, max_images=8)
    server.refuse = lambda ids: refusal(status, "Not this one.") if "005" in ids else None
    tally = await indexed(server, images(8))
    assert tally.changes == {"created": 7}
    assert [(failure.id, failure.reason) for failure in tally.failures] == [("005", "Not this one.")]


async def test_a_batch_that_takes_too_long_is_sent_in_halves_but_an_item_that_does_ends_it() -> None:
    server = GalleryServer({}, max_images=8)
    server.refuse = lambda ids: refusal(504) if len(ids) > 2 else None
    assert (await indexed(server, images(8))).changes == {"created": 8}
    server.refuse = lambda _: refusal(504)
    with pytest.raises(ApiError):
        await indexed(server, images(1, start=50))


@pytest.mark.parametrize("status", [401, 404, 409, 500])
async def test_what_no_item_is_to_blame_for_ends_it(status: int) -> None:
    server = GalleryServer({}, max_images=2)
    server.refuse = lambda _: refusal(status)
    with pytest.raises(ApiError) as caught:
        await indexed(server, images(20))
    assert caught.value.status == status
    assert len(server.batches) <= IN_FLIGHT


async def test_texts_and_images_go_separately() -> None:
    server = GalleryServer({})
    tally = await indexed(server, Source(a=b"1", b="two", c="three", d=b"4"))
    assert tally.changes == {"created": 4}
    assert sorted(server.batches) == [["a"], ["b", "c"], ["d"]]


async def test_batches_are_bounded_in_bytes() -> None:
    server = GalleryServer({}, max_images=1000, max_body_bytes=1 << 30)
    large = b"x" * (BATCH_BYTES // 4)
    tally = await indexed(server, Source(a=large, b=large, c=large, d=large, e=b"x" * BATCH_BYTES))
    assert tally.changes == {"created": 5}
    assert sorted(server.batches) == [["a", "b"], ["c", "d"], ["e"]]


async def test_what_no_body_can_hold_fails_before_it_is_sent() -> None:
    server = GalleryServer({}, max_body_bytes=10_000)
    tally = await indexed(server, Source(a=b"x" * 20_000, b=b"1"))
    assert [failure.id for failure in tally.failures] == ["a"]
    assert list(server.items) == ["b"]


async def test_a_few_batches_are_on_their_way_and_no_more_is_read_meanwhile() -> None:
    server = GalleryServer({}, max_images=2)
    released = asyncio.Event()
    source = images(40)
    waiting: list[int] = []

    async def slow(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/items"):
            waiting.append(len(waiting))
            await released.wait()
        return await GalleryServer.__call__(server, request)

    async with server.client() as client:
        gallery, limits = await client.gallery("shop"), await limits_of(client)
        client._http._transport = httpx2.MockTransport(slow)
        indexer = Indexer(client, gallery, limits, lambda _: None)
        task = asyncio.create_task(indexer.index([source], None))
        while len(waiting) < IN_FLIGHT:
            await asyncio.sleep(0.001)
        assert source.read <= 2 * (IN_FLIGHT + 1)
        released.set()
        await task
    assert indexer.tally.changes == {"created": 40}


async def test_an_interruption_leaves_what_is_done_and_going_on_does_the_rest_once() -> None:
    server = GalleryServer({}, max_images=2)
    reached = asyncio.Event()

    def stop(_: list[str]) -> None:
        if len(server.batches) == 5:
            reached.set()

    server.refuse = stop
    async with server.client() as client:
        gallery, limits = await client.gallery("shop"), await limits_of(client)
        task = asyncio.create_task(Indexer(client, gallery, limits, lambda _: None).index([images(40)], None))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    done = len(server.items)
    assert 0 < done < 40
    tally = await indexed(server, images(40))
    assert tally.changes == {"unchanged": done, "created": 40 - done}
    assert sorted(server.embedded) == sorted(server.items) == [f"{number:03}" for number in range(40)]


async def test_all_ids_are_listed_and_many_are_deleted_call_by_call() -> None:
    server = GalleryServer({}, max_images=50, max_top_k=7, max_items=10)
    await indexed(server, images(25))
    async with server.client() as client:
        limits = await limits_of(client)
        ids = [name async for name in ids_of(client, "shop", limits)]
        assert ids == [f"{number:03}" for number in range(25)]
        assert await delete(client, "shop", ids[:23], limits) == 23
    assert list(server.items) == ["023", "024"]
    assert server.calls.count("POST /v1/galleries/shop/items/delete") == 3
