"""What every store of label sets keeps."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from service.errors import ConfigurationError
from service.stores.base import LabelSetStore, State
from service.stores.sqlite import SqliteState
from tests.support.state import CARS, PETS, RETENTION


@pytest.fixture
def store(state: State) -> LabelSetStore:
    return state.label_sets


async def test_what_was_put_is_found(store: LabelSetStore) -> None:
    stored = await store.put("cars", CARS)
    assert await store.get("cars") == stored
    assert stored.label_set == CARS
    assert stored.created_at == stored.updated_at
    assert stored.created_at.tzinfo is not None


async def test_what_was_not_put_is_not_found(store: LabelSetStore) -> None:
    assert await store.get("pets") is None
    assert await store.delete("pets") is False


async def test_replacing_keeps_the_date_of_creation(store: LabelSetStore) -> None:
    first = await store.put("mine", PETS)
    second = await store.put("mine", CARS)
    assert second.label_set == CARS
    assert second.created_at == first.created_at
    assert second.updated_at > first.updated_at


async def test_two_names_never_mix(store: LabelSetStore) -> None:
    await store.put("pets", PETS)
    await store.put("Pets", CARS)
    assert await store.delete("pets") is True
    assert await store.get("pets") is None
    found = await store.get("Pets")
    assert found is not None
    assert found.label_set == CARS


async def test_listing_goes_page_by_page_in_order_of_name(store: LabelSetStore) -> None:
    for name in ("d", "b", "a", "c", "e"):
        await store.put(name, PETS)
    first = await store.list(after=None, limit=2)
    second = await store.list(after="b", limit=3)
    assert ([item.name for item in first.items], first.has_more) == (["a", "b"], True)
    assert ([item.name for item in second.items], second.has_more) == (["c", "d", "e"], False)
    assert (await store.list(after="e", limit=3)).items == ()


async def test_writers_at_the_same_time_do_not_lose_each_other(store: LabelSetStore) -> None:
    names = [f"set-{index:02}" for index in range(30)]
    await asyncio.gather(*[store.put(name, PETS) for name in names])
    assert [item.name for item in (await store.list(after=None, limit=100)).items] == names


async def test_another_process_on_the_same_state_sees_what_was_put(store: LabelSetStore, other: State) -> None:
    await store.put("pets", PETS)
    await other.label_sets.put("cars", CARS)
    assert await store.get("cars") == await other.label_sets.get("cars")
    assert (await other.label_sets.get("pets")) is not None


async def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.sqlite3").write_bytes(b"this is no database at all, and long enough to be looked at" * 20)
    with pytest.raises(ConfigurationError, match=r"QUORUM_STATE_URL: cannot open .*state\.sqlite3"):
        await SqliteState(tmp_path / "state.sqlite3", RETENTION).start()


async def test_a_path_that_is_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="QUORUM_STATE_URL: cannot open"):
        await SqliteState(tmp_path, RETENTION).start()


async def test_using_a_store_that_was_not_started_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="before start"):
        await SqliteState(tmp_path / "state.sqlite3", RETENTION).label_sets.get("pets")
