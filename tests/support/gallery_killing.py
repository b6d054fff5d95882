"""`python -m tests.support.gallery_killing FOLDER SEED ROUNDS`: write to galleries, be killed, look, and write on.

This process starts nothing but forks, one per round, so that the library is imported once. A fork opens the store,
compares it with what it knows by then, and writes until it is killed. It tells what it is about to do and what was
acknowledged through a pipe, which outlives it; from that this process knows what the next fork has to find.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import random
import select
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from service.galleries.base import FieldValue, Floats, GallerySpec, Item, ItemAbout
from service.galleries.milvus import MilvusGalleries
from service.galleries.milvus.upkeep import FlushRules
from tests.support.gallery_store import gallery, soon

NAMES = ("kept", "dropped-at-times")
IDS = [f"item {number}" for number in range(250)]
INDEX_FROM = 100
RULES = FlushRules(items=60, few=5, quiet_s=0.03)
Items = dict[str, int]
"""The version of each item that is there."""


@dataclass
class Knowledge:
    """`sure` holds per gallery what was acknowledged, None without the gallery; `begun` is what may have happened."""

    sure: dict[str, Items | None] = field(default_factory=lambda: dict.fromkeys(NAMES))
    begun: dict[str, Any] | None = None
    next_version: int = 1
    acknowledged: int = 0

    def heard(self, line: str) -> None:
        message = json.loads(line)
        if message["say"] == "begin":
            self.begun = message
            self.next_version += 1
        elif message["say"] == "done" and self.begun is not None:
            self.sure[self.begun["gallery"]] = self.after()
            self.begun = None
            self.acknowledged += 1
        elif message["say"] == "found":
            self.sure = message["sure"]
            self.begun = None

    def after(self) -> Items | None:
        """What the gallery of `begun` holds once that is done."""
        begun = self.begun or {}
        items = dict(self.sure[begun["gallery"]] or {})
        if begun["what"] == "drop":
            return None
        for each in begun["ids"]:
            if begun["what"] == "upsert":
                items[each] = begun["version"]
            else:
                items.pop(each, None)
        return items

    def allows(self, name: str, found: Items | None) -> bool:
        """A write of several ids is whole only once it is acknowledged; of each id it is."""
        sure = self.sure[name]
        if self.begun is None or self.begun["gallery"] != name:
            return found == sure
        after = self.after()
        if self.begun["what"] in ("create", "drop"):
            return found in (sure, after)
        if found is None or sure is None or after is None:
            return False
        return all(found.get(each) in (sure.get(each), after.get(each)) for each in {*found, *sure, *after})


def embedding_of(item_id: str, version: int) -> Floats:
    seed = IDS.index(item_id) * 1_000_003 + version
    return np.random.default_rng(seed).normal(size=8).astype(np.float32)


def item_of(item_id: str, version: int) -> Item:
    fields: dict[str, FieldValue] = {
        "source": f"version {version}",
        "year": version,
        "rating": version / 7,
        "reviewed": None,
    }
    return Item(ItemAbout(item_id, "image", f"{version:064}", fields), embedding_of(item_id, version))


async def found_in(store: MilvusGalleries, name: str) -> Items | None:
    """What is there, every way of looking at it agreed upon."""
    spec = await store.get(name, soon())
    if spec is None:
        return None
    listed: list[ItemAbout] = []
    more = True
    while more:
        page = await store.items(spec, after=listed[-1].id if listed else None, limit=97, where=None, deadline=soon())
        listed += page.items
        more = page.has_more
    ids = [about.id for about in listed]
    assert len(set(ids)) == len(ids), f"{name}: an item is listed twice"
    assert ids == sorted(ids), f"{name}: the listing is out of order"
    status = await store.status(spec, soon())
    assert (status.items, status.state) == (len(ids), "ready"), f"{name}: {status}, and {len(ids)} are listed"
    fetched = await store.fetch(spec, IDS, soon())
    assert set(fetched) == set(ids), f"{name}: {sorted(set(fetched) ^ set(ids))} are either listed or fetched"
    found = {about.id: int(about.digest) for about in listed}
    for about in listed:
        whole = item_of(about.id, found[about.id])
        assert about == whole.about, f"{name}: {about} was never written"
        assert fetched[about.id].about == whole.about, f"{name}: {about} is another one when fetched"
        assert np.array_equal(fetched[about.id].embedding, whole.embedding), f"{name}: the embedding of {about}"
    await check_search(store, spec, found)
    return found


async def check_search(store: MilvusGalleries, spec: GallerySpec, found: Items) -> None:
    query = np.ones((1, 8), np.float32)
    (hits,) = await store.search(spec, "committee", query, limit=300, where=None, embeddings=False, deadline=soon())
    assert sorted(hit.about.id for hit in hits) == sorted(found), f"{spec.name}: search finds something else"
    scores = {each: float(embedding_of(each, version).sum()) for each, version in found.items()}
    assert all(abs(hit.score - scores[hit.about.id]) < 1e-4 for hit in hits), f"{spec.name}: a score is another item's"


async def live(folder: Path, known: Knowledge, moments: random.Random, pipe: int) -> None:
    """What a fork does until it is killed."""

    def say(**message: object) -> None:
        os.write(pipe, (json.dumps(message) + "\n").encode())

    store = MilvusGalleries(str(folder), None, index_from=INDEX_FROM, rules=RULES)
    await store.start()
    found = {name: await found_in(store, name) for name in NAMES}
    for name in NAMES:
        assert known.allows(name, found[name]), f"{name}: {found[name]} after {known.sure[name]} and {known.begun}"
    say(say="found", sure=found)
    known.sure, known.begun = found, None
    while True:
        begun = chosen(known, moments)
        say(say="begin", **begun)
        known.heard(json.dumps({"say": "begin", **begun}))
        await perform(store, begun)
        say(say="done")
        known.heard('{"say": "done"}')


def chosen(known: Knowledge, moments: random.Random) -> dict[str, Any]:
    name = NAMES[moments.random() < 0.4]
    if known.sure[name] is None:
        return {"gallery": name, "what": "create", "ids": []}
    if name != "kept" and moments.random() < 0.04:
        return {"gallery": name, "what": "drop", "ids": []}
    what = "delete" if moments.random() < 0.25 else "upsert"
    ids = moments.sample(IDS, moments.choice((1, 3, 10, 40)))
    return {"gallery": name, "what": what, "ids": ids, "version": known.next_version}


async def perform(store: MilvusGalleries, begun: dict[str, Any]) -> None:
    name = begun["gallery"]
    if begun["what"] == "create":
        await store.create(gallery(name), soon())
        return
    if begun["what"] == "drop":
        assert await store.drop(name, soon())
        return
    spec = await store.get(name, soon())
    assert spec is not None
    if begun["what"] == "upsert":
        await store.upsert(spec, [item_of(each, begun["version"]) for each in begun["ids"]], soon())
    else:
        await store.delete(spec, soon(), ids=begun["ids"])


def round_of(folder: Path, known: Knowledge, moments: random.Random) -> None:
    """Fork, let it live for a moment, kill it, and listen to what it said. Raises `AssertionError`."""
    read, write = os.pipe()
    seed = moments.random()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            asyncio.run(live(folder, known, random.Random(seed), write))
        except BaseException as error:
            os.write(write, (json.dumps({"say": "failed", "error": repr(error)}) + "\n").encode())
        os._exit(1)
    os.close(write)
    lines = listened(read, child, moments)
    os.close(read)
    for line in lines:
        known.heard(line)
        if '"failed"' in line:
            raise AssertionError(line)


def listened(read: int, child: int, moments: random.Random) -> Sequence[str]:
    """Most forks may begin to write before their time runs; some are killed while they are still opening."""
    heard = b""
    wait_for_writes = moments.random() < 0.8
    left_s = moments.uniform(0.0, 0.35)
    deadline_s = time.monotonic() + (60.0 if wait_for_writes else left_s)
    while (remaining_s := deadline_s - time.monotonic()) > 0:
        ready, _, _ = select.select([read], [], [], remaining_s)
        if not ready:
            break
        more = os.read(read, 65_536)
        if not more:
            break
        heard += more
        if wait_for_writes and b'"found"' in heard:
            wait_for_writes = False
            deadline_s = time.monotonic() + left_s
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while more := os.read(read, 65_536):
        heard += more
    return heard.decode().splitlines()


def main() -> None:
    folder, seed, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    for name in ("pymilvus", "milvus_lite.adapter.grpc.server"):
        importlib.import_module(name)

    moments = random.Random(seed)
    known = Knowledge()
    for number in range(rounds):
        try:
            round_of(folder, known, moments)
        except AssertionError as error:
            sys.exit(f"seed {seed}, round {number}: {error}")
    sizes = {name: len(items or ()) for name, items in known.sure.items()}
    sys.stdout.write(json.dumps({"acknowledged": known.acknowledged, "items": sizes}) + "\n")


if __name__ == "__main__":
    main()
