"""What every store of controllers and cascades keeps."""

from __future__ import annotations

import asyncio
from typing import get_args

import pytest
from safetensors.numpy import load

from service.errors import LabelSetChangedError, NotFoundError
from service.policies import ArtefactKind
from service.stores.base import ArtefactVersion, State
from tests.support.state import CARS, PETS, content

KINDS: tuple[ArtefactKind, ...] = get_args(ArtefactKind)


@pytest.fixture(autouse=True)
async def _pets(state: State) -> None:
    await state.label_sets.put("pets", PETS)


async def put(state: State, value: float = 1.0, kind: ArtefactKind = "controller") -> ArtefactVersion:
    return await state.artefacts.put("pets", kind, PETS.digest, content(value))


async def active(state: State, kind: ArtefactKind = "controller") -> int | None:
    """The active version, as every way of asking says."""
    found = await state.artefacts.get("pets", kind)
    listed = [each for each in await state.artefacts.list("pets", kind) if each.active]
    assert listed == ([found.about] if found else [])
    assert (await state.artefacts.active("pets")).get(kind) == (found.about if found else None)
    return found.about.version if found else None


async def versions(state: State, kind: ArtefactKind = "controller") -> list[int]:
    return [each.version for each in await state.artefacts.list("pets", kind)]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_was_put_is_active_and_comes_back_to_the_bit(state: State, kind: ArtefactKind) -> None:
    stored = await put(state, 0.1, kind)
    found = await state.artefacts.get("pets", kind)
    assert found is not None
    assert found.about == stored
    assert found.tensors == content(0.1).tensors
    assert load(found.tensors)["w"].tolist() == load(content(0.1).tensors)["w"].tolist()
    assert (stored.label_set, stored.kind, stored.version, stored.active) == ("pets", kind, 1, True)
    assert stored.metadata == content(0.1).metadata
    assert stored.created_at.tzinfo is not None
    assert stored.fits(PETS)
    assert not stored.fits(CARS)


async def test_what_was_not_put_is_not_found(state: State) -> None:
    assert await state.artefacts.get("pets", "controller") is None
    assert await state.artefacts.get("nowhere", "controller", 1) is None
    assert dict(await state.artefacts.active("pets")) == dict(await state.artefacts.active("nowhere")) == {}
    assert list(await state.artefacts.list("pets", "controller")) == []
    assert await state.artefacts.activate("pets", "controller", 1) is None
    assert await state.artefacts.delete("pets", "controller") is False


async def test_label_sets_and_kinds_count_for_themselves(state: State) -> None:
    await state.label_sets.put("animals", PETS)
    await put(state)
    await put(state)
    assert (await put(state, kind="cascade")).version == 1
    assert (await state.artefacts.put("animals", "controller", PETS.digest, content())).version == 1
    of_pets = await state.artefacts.active("pets")
    assert {kind: about.version for kind, about in of_pets.items()} == {"controller": 2, "cascade": 1}
    await state.artefacts.delete("pets", "controller")
    assert set(await state.artefacts.active("pets")) == {"cascade"}
    assert await active(state, "cascade") == 1
    assert await state.artefacts.get("animals", "controller") is not None


async def test_the_newest_is_active_and_listed_first_and_a_stated_number_of_others_is_kept(state: State) -> None:
    for value in range(5):
        assert (await put(state, value)).version == value + 1
    assert await versions(state) == [5, 4, 3]
    assert await active(state) == 5
    third = await state.artefacts.get("pets", "controller", 3)
    assert third is not None
    assert (third.about.metadata["value"], third.about.active) == (2.0, False)
    assert await state.artefacts.get("pets", "controller", 1) is None


async def test_an_earlier_version_is_activated_and_the_others_stay(state: State) -> None:
    for value in range(3):
        await put(state, value)
    back = await state.artefacts.activate("pets", "controller", 1)
    assert back is not None
    assert (back.version, back.active) == (1, True)
    assert await active(state) == 1
    assert await versions(state) == [3, 2, 1]
    again = await state.artefacts.activate("pets", "controller", 1)
    assert again == back


async def test_a_version_that_served_last_is_kept_before_newer_ones(state: State) -> None:
    for value in range(3):
        await put(state, value)
    await state.artefacts.activate("pets", "controller", 1)
    assert (await put(state)).version == 4
    assert await versions(state) == [4, 3, 1]
    assert await state.artefacts.activate("pets", "controller", 1) is not None


async def test_a_version_that_is_not_kept_cannot_be_activated(state: State) -> None:
    for value in range(4):
        await put(state, value)
    assert await state.artefacts.activate("pets", "controller", 1) is None
    for version in (0, -1, 99, 2**80):
        assert await state.artefacts.activate("pets", "controller", version) is None
        assert await state.artefacts.get("pets", "controller", version) is None
    assert await active(state) == 4


async def test_deleting_takes_every_version_and_no_number_comes_back(state: State) -> None:
    await put(state)
    await put(state)
    assert await state.artefacts.delete("pets", "controller") is True
    assert await active(state) is None
    assert await versions(state) == []
    assert (await put(state)).version == 3
    assert await active(state) == 3


async def test_without_a_label_set_nothing_is_put(state: State) -> None:
    with pytest.raises(NotFoundError, match=r"PUT /v1/label-sets/nowhere"):
        await state.artefacts.put("nowhere", "controller", PETS.digest, content())
    await state.label_sets.put("nowhere", PETS)
    assert list(await state.artefacts.list("nowhere", "controller")) == []


async def test_what_was_made_for_other_contents_is_not_put(state: State) -> None:
    before = await put(state)
    with pytest.raises(LabelSetChangedError, match="pets"):
        await state.artefacts.put("pets", "controller", CARS.digest, content())
    assert await versions(state) == [before.version]
    assert (await put(state)).version == 2, "a refused one takes no number"


async def test_a_replaced_label_set_keeps_its_artefacts_but_they_do_not_fit(state: State) -> None:
    await put(state)
    await put(state)
    await state.label_sets.put("pets", CARS)
    found = await state.artefacts.get("pets", "controller")
    assert found is not None
    assert not found.about.fits(CARS)
    with pytest.raises(LabelSetChangedError, match=r"Version 1 of the controller.*POST /v1/label-sets/pets/controller"):
        await state.artefacts.activate("pets", "controller", 1)
    assert await active(state) == 2
    await state.label_sets.put("pets", PETS)
    assert found.about.fits(PETS)
    assert await state.artefacts.activate("pets", "controller", 1) is not None


async def test_versions_go_on_counting_when_a_label_set_is_replaced(state: State) -> None:
    await put(state)
    await state.label_sets.put("pets", CARS)
    stored = await state.artefacts.put("pets", "controller", CARS.digest, content())
    assert (stored.version, stored.fits(CARS)) == (2, True)


async def test_a_deleted_label_set_takes_its_artefacts_with_it(state: State) -> None:
    await state.label_sets.put("animals", PETS)
    await state.artefacts.put("animals", "controller", PETS.digest, content())
    for kind in KINDS:
        await put(state, kind=kind)
    await state.label_sets.delete("pets")
    await state.label_sets.put("pets", PETS)
    for kind in KINDS:
        assert await state.artefacts.get("pets", kind) is None
        assert await versions(state, kind) == []
        assert (await put(state, kind=kind)).version == 1
    assert await state.artefacts.get("animals", "controller") is not None


async def test_names_that_look_alike_never_mix(state: State) -> None:
    await state.label_sets.put("Pets", PETS)
    await put(state)
    assert await state.artefacts.get("Pets", "controller") is None
    await state.label_sets.delete("Pets")
    assert await active(state) == 1


@pytest.mark.parametrize("metadata", [{"loss": float("nan")}, {"loss": object()}])
async def test_metadata_that_is_no_json_changes_nothing(state: State, metadata: dict[str, object]) -> None:
    await put(state)
    with pytest.raises((TypeError, ValueError)):
        await state.artefacts.put("pets", "controller", PETS.digest, type(content())(b"", metadata))
    assert await active(state) == 1
    assert (await put(state)).version == 2


async def test_writers_at_the_same_time_get_numbers_of_their_own(state: State, other: State) -> None:
    stored = await asyncio.gather(*[put(each, value) for value in range(10) for each in (state, other)])
    assert sorted(each.version for each in stored) == list(range(1, 21))
    assert await active(state) == await active(other) == 20


async def test_every_process_sees_the_same_active_version(state: State, other: State) -> None:
    await put(state, 1.0)
    await put(other, 2.0)
    await other.artefacts.activate("pets", "controller", 1)
    assert await active(state) == 1
    assert await state.artefacts.get("pets", "controller") == await other.artefacts.get("pets", "controller")
