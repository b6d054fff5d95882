"""Versions of controllers and cascades."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from service.policies import ArtefactKind
from service.stores.base import Artefact, ArtefactContent, ArtefactVersion, Retention
from service.stores.following import Followed
from service.stores.reasons import artefact_does_not_fit, label_set_missing, label_set_replaced
from service.stores.redis import scripts
from service.stores.redis.link import Link
from service.stores.redis.rows import dump_json, read_version

Active = Mapping[ArtefactKind, ArtefactVersion]


class RedisArtefacts:
    """`followed` holds, beside the server, which versions are active."""

    def __init__(self, link: Link, retention: Retention, followed: Followed[Active]) -> None:
        self._link = link
        self._retention = retention
        self._followed = followed

    async def put(self, label_set: str, kind: ArtefactKind, digest: str, content: ArtefactContent) -> ArtefactVersion:
        values = packed(content, self._retention)
        with self._followed.changing(label_set):
            outcome, *row = await self._link.write(scripts.PUT_ARTEFACT, label_set, kind, digest, *values)
        check(outcome, label_set)
        return read_version(label_set, kind, row[0])

    async def active(self, label_set: str) -> Active:
        return await self._followed.get(label_set)

    async def get(self, label_set: str, kind: ArtefactKind, version: int | None = None) -> Artefact | None:
        asked = "" if version is None else version
        found = await self._link.read(scripts.GET_ARTEFACT, label_set, kind, asked)
        return None if found is None else Artefact(read_version(label_set, kind, found[0]), found[1])

    async def list(self, label_set: str, kind: ArtefactKind) -> Sequence[ArtefactVersion]:
        rows = await self._link.read(scripts.LIST_ARTEFACTS, label_set, kind)
        versions = [read_version(label_set, kind, row) for row in rows]
        return sorted(versions, key=lambda about: about.version, reverse=True)

    async def activate(self, label_set: str, kind: ArtefactKind, version: int) -> ArtefactVersion | None:
        with self._followed.changing(label_set):
            outcome, *row = await self._link.write(scripts.ACTIVATE_ARTEFACT, label_set, kind, version)
        if outcome == b"none":
            return None
        found = read_version(label_set, kind, row[0])
        if outcome == b"unfit":
            raise artefact_does_not_fit(found)
        return found

    async def delete(self, label_set: str, kind: ArtefactKind) -> bool:
        with self._followed.changing(label_set):
            deleted: int = await self._link.write(scripts.DELETE_ARTEFACTS, label_set, kind)
        return deleted > 0


def packed(content: ArtefactContent, retention: Retention) -> tuple[str, bytes, int]:
    """As the scripts take it: metadata, tensors, and how many versions are kept in all."""
    return dump_json(content.metadata), content.tensors, retention.earlier_versions + 1


def check(outcome: bytes, label_set: str) -> None:
    """Raises `NotFoundError` without the label set, `LabelSetChangedError` when it has other contents."""
    if outcome == b"missing":
        raise label_set_missing(label_set)
    if outcome == b"changed":
        raise label_set_replaced(label_set)
