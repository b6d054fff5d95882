"""What applies to a label set now, on a real store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from service.deadline import Deadline
from service.errors import UnavailableError
from service.pipeline import fitted as fitted_module
from service.pipeline.fitted import FittedArtefacts
from service.pipeline.planner import Fitted, FittedController
from service.policies import ArtefactKind
from service.repository import Zoo
from service.stores.base import Artefact, ArtefactContent, ArtefactStore, StoredLabelSet
from service.stores.sqlite import SqliteState
from tests.support.fitted import PROMISE, TRIO, cascade_content, constant, controller_content, damaged, trio
from tests.support.state import CARS, PETS, content, sqlite_state


class Counted:
    """An artefact store that counts what is read in full."""

    def __init__(self, store: ArtefactStore) -> None:
        self._store = store
        self.active = store.active
        self.read: list[tuple[str, int | None]] = []

    async def get(self, label_set: str, kind: ArtefactKind, version: int | None = None) -> Artefact | None:
        self.read.append((kind, version))
        return await self._store.get(label_set, kind, version)


class Pets:
    """The label set `pets` and what is fitted for it."""

    def __init__(self, state: SqliteState, zoo: Zoo) -> None:
        self.state, self.zoo = state, zoo
        self.artefacts = Counted(state.artefacts)
        self.fitted = FittedArtefacts(self.artefacts, zoo)  # type: ignore[arg-type]  # all of the store that is used

    async def stored(self) -> StoredLabelSet:
        return await self.state.label_sets.get("pets") or await self.state.label_sets.put("pets", PETS)

    async def put(self, kind: ArtefactKind, content: ArtefactContent) -> None:
        stored = await self.stored()
        await self.state.artefacts.put("pets", kind, stored.label_set.digest, content)

    async def now(self, fitted: FittedArtefacts | None = None) -> Fitted:
        return await (fitted or self.fitted).of(await self.stored(), Deadline.after(5))


@pytest.fixture
async def pets(tmp_path: Path, fake_zoo: Zoo) -> AsyncIterator[Pets]:
    state = sqlite_state(tmp_path)
    await state.start()
    yield Pets(state, fake_zoo)
    await state.close()


def reason(found: Fitted, kind: ArtefactKind) -> str | None:
    return found.standing[kind].reason


async def test_at_first_nothing_is_there(pets: Pets) -> None:
    assert await pets.now() == Fitted()


async def test_what_was_made_for_these_labels_and_this_committee_applies(pets: Pets) -> None:
    await pets.put("controller", controller_content(pets.zoo, 0.5, 2.0))
    await pets.put("cascade", cascade_content(pets.zoo, 0.8, controller="pets/1"))
    found = await pets.now()
    assert found.controller is not None
    assert (found.controller.name, found.controller.version) == ("pets/1", 1)
    assert found.controller.controller.backbones == ("small", "large")
    assert found.cascade is not None
    assert (found.cascade.backbones, found.cascade.promise) == (("small", "large"), PROMISE)
    assert found.cascade.cascade.thresholds == (0.8,)
    assert (found.cascade.calibrated.label_set, found.cascade.calibrated.version) == ("pets", 1)
    assert {kind: standing.reason for kind, standing in found.standing.items()} == {"controller": None, "cascade": None}


async def test_a_version_is_read_once(pets: Pets) -> None:
    await pets.put("controller", controller_content(pets.zoo, 0.5, 2.0))
    await pets.put("cascade", cascade_content(pets.zoo, 0.8, controller="pets/1"))
    for _ in range(3):
        await pets.now()
    assert pets.artefacts.read == [("controller", 1), ("cascade", 1)]
    await pets.put("controller", controller_content(pets.zoo, 1.0, 2.0))
    await pets.now()
    assert pets.artefacts.read[2:] == [("controller", 2)]


async def test_other_labels_have_nothing_and_get_it_back_with_the_old_ones(pets: Pets) -> None:
    await pets.put("controller", controller_content(pets.zoo, 0.5, 2.0))
    await pets.put("cascade", cascade_content(pets.zoo, 0.8, controller="pets/1"))
    await pets.state.label_sets.put("pets", CARS)
    found = await pets.now()
    assert (found.controller, found.cascade) == (None, None)
    assert "other labels" in str(reason(found, "controller"))
    assert "other labels" in str(reason(found, "cascade"))
    await pets.state.label_sets.put("pets", PETS)
    found = await pets.now()
    assert found.controller is not None
    assert found.cascade is not None


async def test_another_committee_is_refused_by_name(pets: Pets, tmp_path: Path) -> None:
    await pets.put("controller", controller_content(pets.zoo, 0.5, 2.0))
    await pets.put("cascade", cascade_content(pets.zoo, 0.8, controller="pets/1"))
    small, large = pets.zoo.backbones
    retrained = replace(large, image=replace(large.image, config=replace(large.image.config, sha256="0" * 64)))
    stranger = trio(tmp_path / "trio").select([TRIO[0].name])
    for backbones, named in (((small,), "large"), ((small, retrained), "large"), ((*stranger, small, large), "tiny")):
        found = await pets.now(FittedArtefacts(pets.state.artefacts, Zoo(tuple(backbones))))
        assert (found.controller, found.cascade) == (None, None)
        for kind in ("controller", "cascade"):
            assert f'"{named}"' in str(found.standing[kind].reason)


async def test_two_zoos_on_one_store_each_keep_what_was_made_for_them(pets: Pets) -> None:
    small, large = pets.zoo.backbones
    retrained = replace(large, image=replace(large.image, config=replace(large.image.config, sha256="0" * 64)))
    other_zoo = Zoo((small, retrained))
    other = FittedArtefacts(pets.state.artefacts, other_zoo)
    ours = FittedArtefacts(pets.state.artefacts, pets.zoo)
    await pets.put("controller", controller_content(pets.zoo, 0.5, 2.0))
    await pets.put("cascade", cascade_content(pets.zoo, 0.8, controller="pets/1"))
    assert (await pets.now(other)).controller is None, "nothing was made for it yet"
    await pets.put("controller", controller_content(other_zoo, 1.0, 3.0))
    await pets.put("cascade", cascade_content(other_zoo, 0.7, controller="pets/2"))
    for fitted, version in ((ours, 1), (other, 2), (ours, 1)):
        found = await pets.now(fitted)
        assert found.controller is not None
        assert found.cascade is not None
        assert (found.controller.version, found.cascade.calibrated.version) == (version, version)
        assert [standing.about.version for standing in found.standing.values()] == [version, version]
        assert [standing.reason for standing in found.standing.values()] == [None, None]
    await pets.state.artefacts.activate("pets", "controller", 1)
    later = FittedArtefacts(pets.state.artefacts, other_zoo)
    assert (await pets.now(later)).standing["controller"].about.version == 2
    await pets.state.label_sets.put("pets", CARS)
    for fitted in (ours, other):
        assert (await pets.now(fitted)).controller is None, "labels come before the zoo"


async def test_what_stands_in_is_not_read_again_and_not_waited_for_while_the_store_is_away(
    pets: Pets, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = pets.zoo.backbones
    retrained = replace(large, image=replace(large.image, config=replace(large.image.config, sha256="0" * 64)))
    await pets.put("controller", controller_content(pets.zoo, 0.5, 2.0))
    await pets.put("controller", controller_content(Zoo((small, retrained)), 1.0, 3.0))
    knows, knows_not = (FittedArtefacts(pets.state.artefacts, pets.zoo) for _ in range(2))
    assert (await pets.now(knows)).controller is not None

    async def away(*_: object) -> None:
        raise UnavailableError("away", retry_after_s=1.0)

    monkeypatch.setattr(pets.state.artefacts, "list", away)
    assert (await pets.now(knows)).controller is not None
    found = await pets.now(knows_not)
    assert found.controller is None, "answered by the mean"
    assert '"large"' in str(reason(found, "controller"))
    monkeypatch.undo()
    assert (await pets.now(knows_not)).controller is not None, "its absence was not remembered"
    monkeypatch.setattr(fitted_module, "LISTED_FOR_S", 0.0)
    monkeypatch.setattr(pets.state.artefacts, "list", away)
    assert (await pets.now(knows)).controller is not None, "what was known last"


async def test_a_store_that_is_silent_costs_no_answer_its_deadline_where_the_stand_in_is_known(
    pets: Pets, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = pets.zoo.backbones
    retrained = replace(large, image=replace(large.image, config=replace(large.image.config, sha256="0" * 64)))
    knows, asked = FittedArtefacts(pets.state.artefacts, pets.zoo), 0
    await pets.put("controller", controller_content(pets.zoo, 0.5, 2.0))
    await pets.put("controller", controller_content(Zoo((small, retrained)), 1.0, 3.0))
    assert (await pets.now(knows)).controller is not None

    async def silent(*_: object) -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(60)

    monkeypatch.setattr(pets.state.artefacts, "list", silent)
    monkeypatch.setattr(fitted_module, "LISTED_FOR_S", 0.0)
    assert (await knows.of(await pets.stored(), Deadline.after(0.4))).controller is not None
    monkeypatch.setattr(fitted_module, "LISTED_FOR_S", 60.0)
    assert (await knows.of(await pets.stored(), Deadline.after(0.4))).controller is not None
    assert asked == 1, "not every request finds out anew that it is away"


async def test_a_cascade_stands_and_falls_with_its_controller(pets: Pets) -> None:
    await pets.put("cascade", cascade_content(pets.zoo, 0.8))
    assert (await pets.now()).cascade is not None, "made under the plain mean, which speaks"
    await pets.put("controller", controller_content(pets.zoo, 0.5, 2.0))
    found = await pets.now()
    assert found.cascade is None
    assert reason(found, "cascade") == "It was calibrated under the plain mean, and controller pets/1 speaks now."
    await pets.put("cascade", cascade_content(pets.zoo, 0.7, controller="pets/1"))
    assert (await pets.now()).cascade is not None
    await pets.put("controller", controller_content(pets.zoo, 1.0, 3.0))
    found = await pets.now()
    assert found.cascade is None
    assert found.controller is not None
    assert reason(found, "cascade") == "It was calibrated under controller pets/1, and controller pets/2 speaks now."
    await pets.state.artefacts.activate("pets", "controller", 1)
    assert (await pets.now()).cascade is not None, "after the way back it applies again"
    await pets.state.artefacts.delete("pets", "controller")
    found = await pets.now()
    assert found.cascade is None
    assert reason(found, "cascade") == "It was calibrated under controller pets/1, and the plain mean speaks now."


async def test_the_generic_controller_speaks_where_no_own_one_applies(pets: Pets) -> None:
    generic = FittedController("generic@abc", None, constant(pets.zoo.backbones, 1.0, 3.0))
    beside = FittedArtefacts(pets.state.artefacts, pets.zoo, generic)
    found = await pets.now(beside)
    assert (found.controller, found.standing) == (generic, {}), "it is nobody's own"
    await pets.put("controller", controller_content(pets.zoo, 0.5, 2.0))
    found = await pets.now(beside)
    assert found.controller is not None
    assert found.controller.name == "pets/1"
    await pets.state.label_sets.put("pets", CARS)
    found = await pets.now(beside)
    assert found.controller == generic
    assert "other labels" in str(reason(found, "controller"))


async def test_a_cascade_is_pinned_to_one_generic_controller_by_name(pets: Pets) -> None:
    first = FittedController("generic@abc", None, constant(pets.zoo.backbones, 1.0, 3.0))
    second = FittedController("generic@def", None, constant(pets.zoo.backbones, 3.0, 1.0))
    await pets.put("cascade", cascade_content(pets.zoo, 0.8, controller="generic@abc"))
    assert (await pets.now(FittedArtefacts(pets.state.artefacts, pets.zoo, first))).cascade is not None
    found = await pets.now(FittedArtefacts(pets.state.artefacts, pets.zoo, second))
    assert found.cascade is None
    words = "It was calibrated under controller generic@abc, and controller generic@def speaks now."
    assert reason(found, "cascade") == words
    assert (await pets.now()).cascade is None, "nor does it apply under the mean"


@pytest.mark.parametrize("kind", ["controller", "cascade"])
async def test_what_is_damaged_is_left_aside_and_complained_of_once(
    pets: Pets, kind: ArtefactKind, caplog: pytest.LogCaptureFixture
) -> None:
    whole = controller_content(pets.zoo, 0.5, 2.0) if kind == "controller" else cascade_content(pets.zoo, 0.8)
    await pets.put(kind, damaged(whole))
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            found = await pets.now()
            assert (found.controller, found.cascade) == (None, None)
            assert "damaged" in str(reason(found, kind))
    assert [record.getMessage().split()[1] for record in caplog.records] == [kind]
    assert vars(caplog.records[0])["version"] == "pets/1"
    await pets.put(kind, whole)
    assert reason(await pets.now(), kind) is None


@pytest.mark.parametrize("kind", ["controller", "cascade"])
async def test_what_another_version_of_the_program_stored_is_left_aside(pets: Pets, kind: ArtefactKind) -> None:
    await pets.put(kind, content())
    found = await pets.now()
    assert (found.controller, found.cascade) == (None, None)
    assert "another version of this program" in str(reason(found, kind))
    assert pets.artefacts.read == []


async def test_a_label_set_made_anew_does_not_inherit(pets: Pets) -> None:
    await pets.put("controller", controller_content(pets.zoo, 0.5, 2.0))
    before = (await pets.now()).controller
    await pets.state.label_sets.delete("pets")
    await pets.put("controller", controller_content(pets.zoo, 3.0, 1.0))
    after = (await pets.now()).controller
    assert before is not None
    assert after is not None
    assert before.name == after.name == "pets/1"
    assert before.controller.c2.tolist() != after.controller.c2.tolist()


@pytest.mark.parametrize("kind", ["controller", "cascade"])
async def test_what_is_deleted_between_two_looks_is_gone(
    pets: Pets, kind: ArtefactKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pets.put(kind, controller_content(pets.zoo, 1, 2) if kind == "controller" else cascade_content(pets.zoo, 0.8))

    async def gone(*_: object) -> None:
        return None

    monkeypatch.setattr(pets.artefacts, "get", gone)
    found = await pets.now()
    assert (found.controller, found.cascade, reason(found, kind)) == (None, None, fitted_module.DELETED)
