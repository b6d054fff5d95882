"""What is known beside a store: trusted while every change is heard of, kept for when the store is away."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from service.errors import UnavailableError
from service.stores.following import Followed


class Store:
    """A store that can be away, and that can be told to answer later (`gate`)."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.asked: list[str] = []
        self.away = False
        self.hears = True
        self.in_hurry = False
        self.gate: asyncio.Event | None = None

    async def ask(self, name: str, in_hurry: bool) -> str | None:
        self.asked.append(name)
        self.in_hurry = in_hurry
        if self.away:
            raise UnavailableError("away")
        value = self.values.get(name)
        if self.gate is not None:
            await self.gate.wait()
        return value


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def followed(store: Store) -> Followed[str | None]:
    return Followed(store.ask, lambda: store.hears, kept=3)


async def test_what_is_known_is_not_asked_for_again_until_it_changes(
    store: Store, followed: Followed[str | None]
) -> None:
    store.values["a"] = "old"
    assert [await followed.get("a") for _ in range(3)] == ["old"] * 3
    assert store.asked == ["a"]
    store.values["a"] = "new"
    followed.stale("b")
    assert await followed.get("a") == "old"
    followed.stale("a")
    assert await followed.get("a") == "new"
    followed.stale(None)
    assert await followed.get("a") == "new"
    assert store.asked == ["a"] * 3


async def test_while_no_changes_are_heard_of_everybody_asks(store: Store, followed: Followed[str | None]) -> None:
    store.values["a"] = "old"
    await followed.get("a")
    store.hears = False
    store.values["a"] = "new"
    assert await followed.get("a") == "new"
    store.hears = True
    assert await followed.get("a") == "new"
    assert len(store.asked) == 3, "what was read unheard is not trusted afterwards"


async def test_what_is_known_last_is_given_while_the_store_is_away(
    store: Store, followed: Followed[str | None]
) -> None:
    store.values["a"] = "old"
    await followed.get("a")
    store.away = True
    followed.stale(None)
    assert await followed.get("a") == "old"
    store.hears = False
    assert await followed.get("a") == "old"
    with pytest.raises(UnavailableError):
        await followed.get("b")


async def test_that_something_does_not_exist_is_not_remembered(store: Store, followed: Followed[str | None]) -> None:
    store.values["a"] = "old"
    await followed.get("a")
    del store.values["a"]
    followed.stale("a")
    assert await followed.get("a") is None
    store.away = True
    with pytest.raises(UnavailableError):
        await followed.get("a")


@pytest.mark.parametrize("changed", ["a", None])
async def test_a_change_during_a_reading_makes_it_stale(
    store: Store, followed: Followed[str | None], changed: str | None
) -> None:
    store.values["a"], store.gate = "old", asyncio.Event()
    reading = asyncio.create_task(followed.get("a"))
    while not store.asked:
        await asyncio.sleep(0)
    store.values["a"] = "new"
    followed.stale(changed)
    store.gate.set()
    assert await reading == "old", "as it was when it was asked"
    assert await followed.get("a") == "new"


async def test_a_slow_old_reading_does_not_replace_a_newer_one(store: Store, followed: Followed[str | None]) -> None:
    gate = store.gate = asyncio.Event()
    store.values["a"] = "old"
    slow = asyncio.create_task(followed.get("a"))
    while not store.asked:
        await asyncio.sleep(0)
    store.values["a"], store.gate = "new", None
    followed.stale("a")
    assert await followed.get("a") == "new"
    gate.set()
    await slow
    assert await followed.get("a") == "new"
    assert len(store.asked) == 2


async def test_own_writes_are_known_at_once_even_if_the_store_goes_away(
    store: Store, followed: Followed[str | None]
) -> None:
    store.values["a"] = "old"
    await followed.get("a")
    with followed.changing("a"):
        store.values["a"] = "mine"
    followed.learn("a", "mine")
    store.away = True
    assert await followed.get("a") == "mine"
    followed.forget("a")
    with pytest.raises(UnavailableError):
        await followed.get("a")


async def test_after_a_write_that_failed_the_store_is_asked(store: Store, followed: Followed[str | None]) -> None:
    store.values["a"] = "old"
    await followed.get("a")
    with suppress(UnavailableError), followed.changing("a"):
        store.values["a"] = "perhaps"
        raise UnavailableError("no answer")
    assert await followed.get("a") == "perhaps"


async def test_only_who_has_something_to_fall_back_on_is_in_a_hurry(
    store: Store, followed: Followed[str | None]
) -> None:
    store.values["a"] = "old"
    await followed.get("a")
    assert not store.in_hurry
    followed.stale("a")
    await followed.get("a")
    assert store.in_hurry


async def test_few_are_kept(store: Store, followed: Followed[str | None]) -> None:
    for name in "abcd":
        store.values[name] = name
        await followed.get(name)
    store.away = True
    assert await followed.get("d") == "d"
    with pytest.raises(UnavailableError):
        await followed.get("a")
