"""What every store of galleries promises. Here Milvus Lite keeps them; the fixture `open_store` decides that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.errors import DeadlineExceededError, InternalError, NotFoundError
from service.galleries.base import Floats, GallerySpec, GalleryStore, Item, ItemAbout, VectorField
from service.galleries.filters import compile_filter
from service.galleries.milvus import MilvusGalleries
from service.galleries.milvus.upkeep import FlushRules
from tests.support.gallery_store import EMPTY, FIELDS, gallery, item, soon, vectors

OpenStore = Callable[[], Awaitable[GalleryStore]]
ODD_IDS = [
    "",
    "a b",
    'say "no"',
    "back\\slash",
    "new\nline",
    "it's",
    "tab\t",
    "nul\x00",
    "é",
    "日本",
    "🐈",
    "id in [1]",
    "%_",
]
ODD_IDS = sorted(each for each in ODD_IDS if each)


@pytest.fixture
async def open_store(tmp_path: Path) -> AsyncIterator[OpenStore]:
    """Opens the same place again and again; what was open before is closed. Flushes soon, and indexes early."""
    opened: list[GalleryStore] = []

    async def open_it() -> GalleryStore:
        while opened:
            await opened.pop().close()
        rules = FlushRules(items=40, few=10, quiet_s=0.05)
        store = MilvusGalleries(str(tmp_path / "galleries.db"), None, index_from=120, rules=rules)
        await store.start()
        opened.append(store)
        return store

    yield open_it
    while opened:
        await opened.pop().close()


@pytest.fixture
async def store(open_store: OpenStore) -> GalleryStore:
    return await open_store()


@pytest.fixture
async def pets(store: GalleryStore) -> GallerySpec:
    return await store.create(gallery(), soon())


async def ids_of(store: GalleryStore, spec: GallerySpec, where: str | None = None) -> list[str]:
    page = await store.items(spec, after=None, limit=1_000, where=where, deadline=soon())
    assert not page.has_more
    return [each.id for each in page.items]


def filled(count: int, seed: int = 0) -> list[Item]:
    """Ids count from `0000`; `year` is the number modulo 10."""
    return [item(f"{index:04}", each, year=index % 10) for index, each in enumerate(vectors(count, seed=seed))]


async def test_a_gallery_is_what_it_was_created_as(store: GalleryStore) -> None:
    spec = gallery("Pets.of-2026", widths={"größe": 2, "b": 3}, prefix=("b",), fields={"in": "string", "id": "number"})
    assert await store.create(spec, soon()) == spec
    assert await store.get("Pets.of-2026", soon()) == spec


async def test_a_second_gallery_of_a_name_leaves_the_first_as_it_was(store: GalleryStore, pets: GallerySpec) -> None:
    await store.upsert(pets, filled(3), soon())
    other = gallery(widths={"other": 2}, prefix=("other",))
    assert await store.create(other, soon()) == pets
    assert await store.get("pets", soon()) == pets
    assert await ids_of(store, pets) == ["0000", "0001", "0002"]


async def test_of_many_who_create_the_same_gallery_one_does(store: GalleryStore) -> None:
    made = await asyncio.gather(*(store.create(gallery(), soon()) for _ in range(5)))
    assert len({spec.created_at for spec in made}) == 1


async def test_an_unknown_gallery_is_none(store: GalleryStore) -> None:
    assert await store.get("pets", soon()) is None
    assert await store.drop("pets", soon()) is False


async def test_names_that_differ_in_case_alone_are_two_galleries(store: GalleryStore, pets: GallerySpec) -> None:
    upper = await store.create(gallery("PETS"), soon())
    await store.upsert(pets, filled(2), soon())
    assert await ids_of(store, upper) == []


async def test_galleries_are_listed_page_by_page_in_order_of_name(store: GalleryStore) -> None:
    for name in ("d", "B", "a-b", "a.b", "a"):
        await store.create(gallery(name), soon())
    first = await store.list(after=None, limit=2, deadline=soon())
    second = await store.list(after="a", limit=3, deadline=soon())
    assert ([spec.name for spec in first.items], first.has_more) == (["B", "a"], True)
    assert ([spec.name for spec in second.items], second.has_more) == (["a-b", "a.b", "d"], False)
    assert (await store.list(after="d", limit=3, deadline=soon())).items == ()


async def test_a_dropped_gallery_is_gone_with_its_items(store: GalleryStore, pets: GallerySpec) -> None:
    await store.upsert(pets, filled(3), soon())
    assert await store.drop("pets", soon()) is True
    assert await store.get("pets", soon()) is None
    for use in (
        store.status(pets, soon()),
        store.upsert(pets, filled(1), soon()),
        store.look_up(pets, ["0000"], soon()),
        store.delete(pets, soon(), ids=["0000"]),
    ):
        with pytest.raises(NotFoundError):
            await use


async def test_a_name_can_be_given_again_to_a_gallery_of_another_shape(store: GalleryStore, pets: GallerySpec) -> None:
    await store.upsert(pets, filled(3), soon())
    await store.drop("pets", soon())
    again = await store.create(gallery(widths={"other": 2}, prefix=("other",), fields={"year": "string"}), soon())
    about = ItemAbout("a", "unknown", "0" * 64, {"year": "MMXX"})
    await store.upsert(again, [Item(about, np.array([1, 2], np.float32))], soon())
    assert await store.look_up(again, ["a", "0000"], soon()) == {"a": about}
    with pytest.raises(NotFoundError):
        await store.upsert(pets, filled(3), soon())


async def test_status_counts_what_is_there_and_says_how_it_is_searched(store: GalleryStore, pets: GallerySpec) -> None:
    empty = await store.status(pets, soon())
    assert (empty.items, empty.state) == (0, "ready")
    assert empty.index.type
    await store.upsert(pets, filled(5), soon())
    await store.upsert(pets, filled(3, seed=1), soon())
    await store.delete(pets, soon(), ids=["0004", "unknown"])
    assert (await store.status(pets, soon())).items == 4


async def test_an_item_comes_back_as_it_was_given(store: GalleryStore, pets: GallerySpec) -> None:
    full = item("a", vectors(1)[0], source="", year=-(2**63) + 1, rating=-1e-300, reviewed=False)
    bare = item("b", vectors(1, seed=1)[0], modality="text")
    await store.upsert(pets, [full, bare], soon())
    found = await store.fetch(pets, ["b", "unknown", "a", "b"], soon())
    assert set(found) == {"a", "b"}
    for given in (full, bare):
        assert found[given.about.id].about == given.about
        assert found[given.about.id].embedding.dtype == np.float32
        assert np.array_equal(found[given.about.id].embedding, given.embedding)
    assert await store.look_up(pets, ["a", "unknown"], soon()) == {"a": full.about}
    assert await store.look_up(pets, [], soon()) == {}


async def test_an_item_of_a_known_id_is_replaced_as_a_whole(store: GalleryStore, pets: GallerySpec) -> None:
    before, after = vectors(2)
    await store.upsert(pets, [item("a", before, source="web", year=1, rating=0.5, reviewed=True)], soon())
    await store.upsert(pets, [item("a", after, modality="text", year=2)], soon())
    found = await store.fetch(pets, ["a"], soon())
    assert found["a"].about == item("a", after, modality="text", year=2).about
    assert found["a"].about.fields == {**EMPTY, "year": 2}
    assert np.array_equal(found["a"].embedding, after)
    assert (await store.status(pets, soon())).items == 1


async def test_ids_are_any_text(store: GalleryStore, pets: GallerySpec) -> None:
    await store.upsert(
        pets, [item(each, row) for each, row in zip(ODD_IDS, vectors(len(ODD_IDS)), strict=True)], soon()
    )
    assert await ids_of(store, pets) == ODD_IDS
    for index, each in enumerate(ODD_IDS):
        page = await store.items(pets, after=each, limit=1, where=None, deadline=soon())
        assert [about.id for about in page.items] == ODD_IDS[index + 1 : index + 2]
        assert set(await store.fetch(pets, [each], soon())) == {each}
    assert await store.delete(pets, soon(), ids=ODD_IDS[::2]) == len(ODD_IDS[::2])
    assert await ids_of(store, pets) == ODD_IDS[1::2]


async def test_items_are_deleted_by_id_or_by_filter_and_counted(store: GalleryStore, pets: GallerySpec) -> None:
    await store.upsert(pets, filled(60), soon())
    assert await store.delete(pets, soon(), ids=["0000", "0000", "unknown", "0001"]) == 2
    assert await store.delete(pets, soon(), where=compile_filter({"year": {"gte": 2}}, FIELDS)) == 48
    assert await store.delete(pets, soon(), where=compile_filter({"year": {"gte": 2}}, FIELDS)) == 0
    assert len(await ids_of(store, pets)) == 10
    with pytest.raises(ValueError, match="exactly one"):
        await store.delete(pets, soon())


async def test_items_are_listed_page_by_page_in_order_of_id(store: GalleryStore, pets: GallerySpec) -> None:
    given = filled(70)
    await store.upsert(pets, [*given[35:], *given[:35]], soon())
    after, seen = None, []
    while True:
        page = await store.items(pets, after=after, limit=16, where=None, deadline=soon())
        seen += list(page.items)
        if not page.has_more:
            break
        after = page.items[-1].id
    assert seen == [each.about for each in given]
    some = await store.items(
        pets, after="0011", limit=2, where=compile_filter({"year": [1, 2]}, FIELDS), deadline=soon()
    )
    assert ([each.id for each in some.items], some.has_more) == (["0012", "0021"], True)


@pytest.mark.parametrize("count", [0, 5, 60, 150])
async def test_search_finds_the_largest_inner_products_best_first(
    store: GalleryStore, pets: GallerySpec, count: int
) -> None:
    """As many as are kept in memory, in files, and behind an index."""
    given = filled(count)
    await store.upsert(pets, given, soon())
    queries = vectors(7, seed=5)
    await check_search(store, pets, given, queries)
    changed = [replace(each, embedding=-each.embedding) for each in given[::3]]
    await store.upsert(pets, changed, soon())
    kept = [*changed[1:], *(each for index, each in enumerate(given) if index % 3)]
    await store.delete(pets, soon(), ids=[each.about.id for each in changed[:1]])
    await check_search(store, pets, kept, queries)


async def check_search(store: GalleryStore, spec: GallerySpec, items: list[Item], queries: Floats) -> None:
    ids = [each.about.id for each in items]
    embeddings = np.array([each.embedding for each in items], np.float32).reshape(-1, 8)
    fields: list[tuple[VectorField, slice]] = [("committee", slice(0, 8)), ("prefix", slice(5, 8))]
    for field, part in fields:
        scores = queries[:, part] @ embeddings[:, part].T
        found = await store.search(
            spec,
            field,
            queries[:, part],
            limit=10,
            where=None,
            embeddings=True,
            deadline=soon(),
        )
        assert len(found) == len(queries)
        for row, hits in zip(scores, found, strict=True):
            best = np.argsort(-row)[:10]
            assert [hit.about.id for hit in hits] == [ids[index] for index in best]
            assert np.allclose([hit.score for hit in hits], row[best], rtol=1e-4, atol=1e-5)
            for hit, index in zip(hits, best, strict=True):
                assert hit.about == items[index].about
                assert hit.embedding is not None
                assert np.array_equal(hit.embedding, items[index].embedding)


async def test_search_heeds_a_filter_and_gives_embeddings_on_request_alone(
    store: GalleryStore, pets: GallerySpec
) -> None:
    given = filled(150)
    await store.upsert(pets, given, soon())
    query = vectors(1, seed=9)
    where = compile_filter({"year": [3, 4]}, FIELDS)
    (hits,) = await store.search(pets, "committee", query, limit=100, where=where, embeddings=False, deadline=soon())
    matching = [each for each in given if each.about.fields["year"] in (3, 4)]
    matching.sort(key=lambda each: -float(each.embedding @ query[0]))
    assert [hit.about for hit in hits] == [each.about for each in matching]
    assert all(hit.embedding is None for hit in hits)


async def test_equal_scores_are_in_order_of_id(store: GalleryStore, pets: GallerySpec) -> None:
    row = vectors(1)[0]
    await store.upsert(pets, [item(each, row) for each in ("c", "a", "d", "b")], soon())
    (hits,) = await store.search(pets, "committee", row[None], limit=4, where=None, embeddings=False, deadline=soon())
    assert [hit.about.id for hit in hits] == ["a", "b", "c", "d"]


async def test_every_write_is_seen_by_the_next_read_whatever_else_is_going_on(
    store: GalleryStore, pets: GallerySpec
) -> None:
    """Several writers, each of which reads back what it wrote; flushes and the building of an index come between."""
    rows = vectors(300)

    async def write(worker: int) -> None:
        for step in range(25):
            index = worker * 25 + step
            await store.upsert(pets, [item(f"{index:04}", rows[index], year=worker)], soon())
            (hits,) = await store.search(
                pets,
                "committee",
                100 * rows[index][None],
                limit=1_000,
                where=compile_filter({"year": worker}, FIELDS),
                embeddings=False,
                deadline=soon(),
            )
            assert sorted(hit.about.id for hit in hits) == [f"{worker * 25 + done:04}" for done in range(step + 1)]
            assert set(await store.look_up(pets, [f"{index:04}"], soon())) == {f"{index:04}"}

    await asyncio.gather(*(write(worker) for worker in range(8)))
    assert len(await ids_of(store, pets)) == 200
    assert (await store.status(pets, soon())).items == 200


async def test_more_than_fits_into_one_message_is_stored(store: GalleryStore) -> None:
    spec = await store.create(gallery("wide", widths={"a": 4_000, "b": 1_000}, prefix=("b",)), soon())
    rows = vectors(200, width=5_000)
    await store.upsert(spec, [item(f"{index:04}", row) for index, row in enumerate(rows)], soon())
    found = await store.fetch(spec, [f"{index:04}" for index in range(200)], soon())
    assert len(found) == 200
    assert all(np.array_equal(found[f"{index:04}"].embedding, row) for index, row in enumerate(rows))


async def test_a_call_without_time_left_says_so_and_writes_nothing(store: GalleryStore, pets: GallerySpec) -> None:
    with pytest.raises(DeadlineExceededError):
        await store.upsert(pets, filled(3), soon(0.0))
    with pytest.raises(DeadlineExceededError):
        await store.search(pets, "committee", vectors(1), limit=1, where=None, embeddings=False, deadline=soon(0.0))
    assert await ids_of(store, pets) == []


async def test_a_write_that_cannot_be_does_not_harm_the_next(store: GalleryStore, pets: GallerySpec) -> None:
    with pytest.raises(ValueError, match="width 8"):
        await store.upsert(pets, [item("a", vectors(1, width=7)[0])], soon())
    for broken in (item("x" * 600, vectors(1)[0]), item("b", vectors(1)[0], year="no number")):
        with pytest.raises(InternalError):
            await store.upsert(pets, [broken], soon())
    await store.upsert(pets, filled(3), soon())
    assert await ids_of(store, pets) == ["0000", "0001", "0002"]


async def test_a_write_whose_caller_leaves_is_whole(store: GalleryStore, pets: GallerySpec) -> None:
    writing = asyncio.ensure_future(store.upsert(pets, filled(300), soon()))
    await asyncio.sleep(0.01)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await store.upsert(pets, [item("later", vectors(1)[0])], soon())
    assert len(await ids_of(store, pets)) in (1, 301)


async def test_everything_is_there_after_a_restart(open_store: OpenStore) -> None:
    store = await open_store()
    for count, name in ((5, "few"), (60, "some"), (150, "many")):
        spec = await store.create(gallery(name), soon())
        await store.upsert(spec, filled(count), soon())
        await store.delete(spec, soon(), ids=["0002"])
    await store.create(gallery("dropped"), soon())
    await store.drop("dropped", soon())
    for _ in range(2):
        store = await open_store()
        kept = await store.list(after=None, limit=10, deadline=soon())
        assert [spec.name for spec in kept.items] == ["few", "many", "some"]
        for spec in kept.items:
            count = {"few": 5, "some": 60, "many": 150}[spec.name]
            items = [each for each in filled(count) if each.about.id != "0002"]
            assert (await store.status(spec, soon())).items == count - 1
            assert await ids_of(store, spec) == [each.about.id for each in items]
            await check_search(store, spec, items, vectors(3, seed=5))
