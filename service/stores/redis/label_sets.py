"""Label sets, and what follows when one of them changes."""

from __future__ import annotations

from typing import get_args

from service.pipeline.labels import LabelSet
from service.policies import ArtefactKind
from service.stores.base import Page, StoredLabelSet
from service.stores.following import Followed
from service.stores.reasons import label_set_deleted, label_set_replaced
from service.stores.redis import scripts
from service.stores.redis.link import Link
from service.stores.redis.rows import dump_error, dump_label_set, read_label_set

KINDS: tuple[ArtefactKind, ...] = get_args(ArtefactKind)


class RedisLabelSets:
    """`followed` holds what is known of them beside the server; None stands for one that is not there."""

    def __init__(self, link: Link, followed: Followed[StoredLabelSet | None]) -> None:
        self._link = link
        self._followed = followed

    async def put(self, name: str, label_set: LabelSet) -> StoredLabelSet:
        content, why = dump_label_set(label_set), dump_error(label_set_replaced(name))
        with self._followed.changing(name):
            row = await self._link.write(scripts.PUT_LABEL_SET, name, content, label_set.digest, why)
        stored = read_label_set(name, row)
        if stored is None:
            raise RuntimeError("a label set is gone in the transaction that stored it")
        self._followed.learn(name, stored)
        return stored

    async def get(self, name: str) -> StoredLabelSet | None:
        return await self._followed.get(name)

    async def delete(self, name: str) -> bool:
        why = dump_error(label_set_deleted(name))
        with self._followed.changing(name):
            deleted: int = await self._link.write(scripts.DELETE_LABEL_SET, name, why, *KINDS)
        self._followed.forget(name)
        return deleted == 1

    async def list(self, *, after: str | None, limit: int) -> Page[StoredLabelSet]:
        rows = await self._link.read(scripts.LIST_LABEL_SETS, f"({after}" if after else "-", limit + 1)
        found = [read_label_set(name.decode(), row) for name, row in rows[:limit]]
        return Page(tuple(each for each in found if each is not None), has_more=len(rows) > limit)
