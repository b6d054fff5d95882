"""What is known of the things that queries look for: embedded in rounds, each thing once, whoever asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from service.deadline import Deadline
from service.errors import QuorumError
from service.galleries.base import Floats, GallerySpec, Item
from service.pipeline.embed import Embedded, Embedder, Image
from service.pipeline.retrieval.galleries import Ready
from service.policies import Modality
from service.repository import Backbone
from service.timings import Timings


@dataclass(frozen=True, slots=True)
class ById:
    """An item of the gallery that is searched."""

    id: str


Thing = Image | str | Ready | ById


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One thing that a query looks for, and how much; `param` is what the API calls it."""

    thing: Thing
    weight: float
    param: str


def cost_of(thing: Thing, backbone: Backbone) -> float:
    """GFLOPs of asking a backbone about it; what is embedded already costs nothing."""
    if isinstance(thing, Image):
        return backbone.gflops
    return backbone.text.config.gflops if isinstance(thing, str) else 0.0


class SearchEvidence:
    """The things of one call. Embedding a thing costs once; a query that comes later finds it cached."""

    def __init__(
        self,
        embedder: Embedder,
        spec: GallerySpec,
        parts: Sequence[Part],
        items: Mapping[str, Item],
        backbones: Sequence[Backbone],
        deadline: Deadline,
        timings: Timings,
    ) -> None:
        self._embedder = embedder
        self._places = spec.parts
        self._items = items
        self._deadline = deadline
        self._images = list({each.thing.digest: each.thing for each in parts if isinstance(each.thing, Image)}.values())
        self._texts = list(dict.fromkeys(each.thing for each in parts if isinstance(each.thing, str)))
        self._batch = embedder.batch(self._images, backbones, deadline, timings)
        self._answers: dict[tuple[str, str], Embedded] = {}

    async def ask(self, things: Iterable[Thing], backbones: Sequence[Backbone]) -> None:
        """Images and texts at the same time, every backbone beside the others; errors become outcomes.

        Whoever was asked about a thing before is not asked again.
        """
        keys = {_key(thing) for thing in things}
        images = [image for image in self._images if _key(image) in keys]
        texts = [text for text in self._texts if _key(text) in keys]
        await asyncio.gather(self._see(images, backbones), *[self._read(texts, each) for each in backbones])

    def outcome(self, thing: Thing, backbone: Backbone) -> Embedded:
        """What `backbone`, which was asked, says of a thing; a ready embedding and a known item are cached."""
        if isinstance(thing, Ready):
            return Embedded(thing.embedding[self._places[backbone.name]], cached=True)
        if isinstance(thing, ById):
            return Embedded(self._items[thing.id].embedding[self._places[backbone.name]], cached=True)
        return self._answers[_key(thing), backbone.name]

    def modality(self, thing: Thing) -> Modality:
        if isinstance(thing, Ready):
            return thing.modality
        if isinstance(thing, ById):
            return self._items[thing.id].about.modality
        return "image" if isinstance(thing, Image) else "text"

    async def _see(self, images: Sequence[Image], backbones: Sequence[Backbone]) -> None:
        asking = {
            self._images.index(image): fresh
            for image in images
            if (fresh := [each for each in backbones if (_key(image), each.name) not in self._answers])
        }
        found = await self._batch.ask(asking) if asking else {}
        for index, answers in found.items():
            for each in asking[index]:
                embedded = Embedded(answers) if isinstance(answers, QuorumError) else answers[each.name]
                self._answers[_key(self._images[index]), each.name] = embedded

    async def _read(self, texts: Sequence[str], backbone: Backbone) -> None:
        fresh = [text for text in texts if (_key(text), backbone.name) not in self._answers]
        if not fresh:
            return
        try:
            found = await self._embedder.ask_texts(fresh, backbone.text, self._deadline)
        except QuorumError as error:
            found = [Embedded(error)] * len(fresh)
        self._answers |= {(_key(text), backbone.name): each for text, each in zip(fresh, found, strict=True)}


def embedding_of(embedded: Embedded) -> Floats | None:
    return None if isinstance(embedded.outcome, QuorumError) else embedded.outcome


def _key(thing: Thing) -> str:
    if isinstance(thing, Image):
        return f"image {thing.digest}"
    return f"text {thing}" if isinstance(thing, str) else ""
