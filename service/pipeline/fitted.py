"""What was fitted for a label set: read once per version, and refused where backbones or labels have changed since."""

from __future__ import annotations

import logging
import math
import time
from datetime import datetime
from typing import Final

from cachetools import LRUCache

from service.deadline import Deadline
from service.errors import DeadlineExceededError, UnavailableError
from service.pipeline.artefacts import (
    ArtefactError,
    committee_change,
    is_readable,
    unpack_cascade,
    unpack_controller,
)
from service.pipeline.plan import CascadeId
from service.pipeline.planner import Fitted, FittedCascade, FittedController, Standing, name_of
from service.policies import ArtefactKind
from service.repository import Zoo
from service.stores.base import Artefact, ArtefactStore, ArtefactVersion, StoredLabelSet

log = logging.getLogger(__name__)

KEPT: Final = 256
"""Controllers, and cascades, in memory. One is some hundred kilobytes at most."""

LISTED_FOR_S: Final = 1.0
"""How long it is believed which version of this zoo stands in for another zoo's: as old as any answer may be."""

HURRY_S: Final = 0.5
"""For looking again, where what was known last would do: a silent store must not cost an answer its deadline."""

OTHER_LABELS: Final = "It was made for other labels or templates than the label set has now."
OTHER_FORMAT: Final = "It was stored by another version of this program, which this one does not read. Make it anew."
DAMAGED: Final = "What is stored of it is damaged. Make it anew."
DELETED: Final = "It was deleted just now."

Key = tuple[str, int, datetime]


class FittedArtefacts:
    """`generic` speaks for label sets without a controller of their own that applies; None: the plain mean does."""

    def __init__(self, artefacts: ArtefactStore, zoo: Zoo, generic: FittedController | None = None) -> None:
        self._artefacts = artefacts
        self._zoo = zoo
        self._generic = generic
        # None for what is damaged: a version never changes, so it is read, and complained of, once.
        self._controllers: LRUCache[Key, FittedController | None] = LRUCache(KEPT)
        self._cascades: LRUCache[Key, FittedCascade | None] = LRUCache(KEPT)
        self._instead: LRUCache[tuple[Key, ArtefactKind, str], tuple[float, ArtefactVersion | None]] = LRUCache(KEPT)

    async def of(self, stored: StoredLabelSet, deadline: Deadline) -> Fitted:
        """What applies to a label set now. The store is asked every time which versions are active.

        Where the active version was made for another zoo, the newest one that was made for this one stands in for it:
        gateways with two zoos may share a store while one takes the other's place.
        """
        found = await deadline.wait_for(self._artefacts.active(stored.name), "reading what was fitted")
        active = {kind: await self._ours(about, stored, deadline) for kind, about in found.items()}
        controller, cascade = None, None
        reasons: dict[ArtefactKind, str | None] = {}
        if about := active.get("controller"):
            controller, reasons["controller"] = await self._controller(about, stored, deadline)
        controller = controller or self._generic
        if about := active.get("cascade"):
            cascade, reasons["cascade"] = await self._cascade(about, stored, controller, deadline)
        return Fitted(controller, cascade, {kind: Standing(active[kind], reason) for kind, reason in reasons.items()})

    def reason(self, about: ArtefactVersion, stored: StoredLabelSet, controller: FittedController | None) -> str | None:
        """Why a version, if it were the active one, would not apply beside the active `controller`; None if it would.

        One sentence. Whether its file can be read is known once it was needed.
        """
        if not about.fits(stored.label_set):
            return OTHER_LABELS
        if not is_readable(about.metadata, about.kind):
            return OTHER_FORMAT
        changed = committee_change(about.metadata, self._zoo.committee.backbones)
        if changed is None and about.kind == "cascade":
            return other_controller(about, controller)
        return changed

    async def _ours(self, about: ArtefactVersion, stored: StoredLabelSet, deadline: Deadline) -> ArtefactVersion:
        """The version that stands here: the active one, unless it is another zoo's and a kept one is this zoo's."""
        if not about.fits(stored.label_set) or not self._is_of_another_zoo(about):
            return about
        key = (_key(about), about.kind, stored.label_set.digest)
        listed_s, instead = self._instead.get(key, (-math.inf, None))
        if time.monotonic() - listed_s < LISTED_FOR_S:
            return instead or about
        looked = key in self._instead
        until = deadline
        if looked:  # one request looks again, the others go on with what was known last; also where it is in vain
            self._instead[key] = time.monotonic(), instead
            until = Deadline.after(min(HURRY_S, deadline.remaining_s / 2))
        listing = self._artefacts.list(about.label_set, about.kind)
        try:
            kept = await until.wait_for(listing, f"reading the versions of the {about.kind}")
        except UnavailableError:
            return instead or about  # what was known last, until the store is back
        except DeadlineExceededError:
            if not looked:
                raise
            return instead or about
        instead = next((each for each in kept if self._is_ours(each, stored)), None)
        self._instead[key] = time.monotonic(), instead
        return instead or about

    def _is_ours(self, about: ArtefactVersion, stored: StoredLabelSet) -> bool:
        readable = is_readable(about.metadata, about.kind)
        return readable and about.fits(stored.label_set) and not self._is_of_another_zoo(about)

    def _is_of_another_zoo(self, about: ArtefactVersion) -> bool:
        if not is_readable(about.metadata, about.kind):
            return False
        return committee_change(about.metadata, self._zoo.committee.backbones) is not None

    async def _controller(
        self, about: ArtefactVersion, stored: StoredLabelSet, deadline: Deadline
    ) -> tuple[FittedController | None, str | None]:
        """The controller, or why it does not apply."""
        if reason := self.reason(about, stored, None):
            return None, reason
        key = _key(about)
        if key not in self._controllers:
            artefact = await self._read(about, deadline)
            if artefact is None:
                return None, DELETED
            self._controllers[key] = _open_controller(artefact)
        found = self._controllers[key]
        return found, DAMAGED if found is None else None

    async def _cascade(
        self, about: ArtefactVersion, stored: StoredLabelSet, controller: FittedController | None, deadline: Deadline
    ) -> tuple[FittedCascade | None, str | None]:
        """The cascade, or why it does not apply beside the active `controller`."""
        if reason := self.reason(about, stored, controller):
            return None, reason
        key = _key(about)
        if key not in self._cascades:
            artefact = await self._read(about, deadline)
            if artefact is None:
                return None, DELETED
            self._cascades[key] = _open_cascade(artefact)
        found = self._cascades[key]
        return found, DAMAGED if found is None else None

    async def _read(self, about: ArtefactVersion, deadline: Deadline) -> Artefact | None:
        reading = self._artefacts.get(about.label_set, about.kind, about.version)
        return await deadline.wait_for(reading, f"reading the {about.kind}")


def other_controller(cascade: ArtefactVersion, active: FittedController | None) -> str | None:
    """A promise is about one controller. Why it says nothing about the active one; None when it was made under that."""
    pinned = cascade.metadata["cascade"]["controller"]
    now = None if active is None else active.name
    if pinned == now:
        return None
    return f"It was calibrated under {_called(pinned)}, and {_called(now)} speaks now."


def _called(controller: str | None) -> str:
    return "the plain mean" if controller is None else f"controller {controller}"


def _open_controller(artefact: Artefact) -> FittedController | None:
    about = artefact.about
    try:
        return FittedController(name_of(about), about.version, unpack_controller(artefact))
    except ArtefactError as error:
        _complain(about, error)
        return None


def _open_cascade(artefact: Artefact) -> FittedCascade | None:
    about = artefact.about
    try:
        cascade, names, promise = unpack_cascade(artefact)
    except ArtefactError as error:
        _complain(about, error)
        return None
    return FittedCascade(CascadeId(about.label_set, about.version, about.created_at), names, cascade, promise)


def _complain(about: ArtefactVersion, error: ArtefactError) -> None:
    extra = {"version": name_of(about)}
    log.error("a %s cannot be read and is left aside; make it anew", about.kind, exc_info=error, extra=extra)


def _key(about: ArtefactVersion) -> Key:
    # A label set that was deleted and made anew counts its versions from 1 again.
    return about.label_set, about.version, about.created_at
