"""What pictures show, as a key, and which of it is held out of training.

A split by picture would put the same thing, drawn twice, on both sides. A split by concept does not.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Final

_PEOPLE = (
    "man woman person men women people boy girl child boys girls children male female adult old older baby "
    "king queen prince princess mr mrs mx"
)
_COLOURS = "red orange yellow green blue purple brown black white grey gray pink light dark"
_VARIANTS = (
    "small large medium medium-small big up down left right leftwards rightwards upwards downwards left-facing "
    "right-facing up-left up-right down-left down-right tilted facing oncoming open closed raised lowered incoming "
    "outgoing low high"
)
_IGNORED: Final = frozenset(f"{_PEOPLE} {_COLOURS} {_VARIANTS} a an the and with of in for on".split())
_ANYONE: Final = frozenset(_PEOPLE.split())
# One drawing in many positions: a held-out hour of the clock would be no new concept.
_SERIES: Final = {
    "o'clock": "clock face",
    "-thirty": "clock face",
    "moon": "moon",
    "globe": "globe",
    "family": "family",
    "speaker": "speaker",
    "holding hands": "holding hands",
    "kiss:": "kiss",
}
_MASS_NOUNS: Final = frozenset({"clothing", "sports gear", "stationery", "weather", "furniture", "food", "music"})


def concept_of(name: str) -> str:
    """The concept behind a name: who does it, its colour, its size and where it points are taken away.

    "man health worker", "woman health worker" and "health worker" are one concept; so are "blue heart" and "heart".
    """
    text = name.lower()
    for part, concept in _SERIES.items():
        if part in text:
            return concept
    words = re.findall(r'[^\s:,()"]+', re.sub(r"'s\b", "", text))
    kept = [word for word in words if word not in _IGNORED]
    if len(kept) > 1 and kept[-1] == "face" and "face" not in kept[:-1]:
        # "cat face" shows what "cat" shows.
        kept.pop()
    if kept:
        return " ".join(kept)
    return "person" if words and _ANYONE.issuperset(words) else " ".join(words)


def _position(concept: str) -> int:
    return int.from_bytes(hashlib.sha256(f"held-out concept: {concept}".encode()).digest()[:8])


def held_out(concept: str, share: float) -> bool:
    """Whether a concept belongs to the held-out `share` (0..1); the same answer for every source, always."""
    return _position(concept) / 2**64 < share


def held_out_of_classes(classes: Mapping[str, str | None], share: float, least: int = 4) -> frozenset[str]:
    """The held-out concepts among `classes` (concept to class): `share` of each class, but `least` where it has twice
    as many. Which of a class depends on the concepts' names alone."""
    members: dict[str | None, list[str]] = {}
    for concept, name in classes.items():
        members.setdefault(name, []).append(concept)
    chosen: set[str] = set()
    for concepts in members.values():
        wanted = max(round(share * len(concepts)), min(least, len(concepts) // 2))
        chosen.update(sorted(concepts, key=_position)[:wanted])
    return frozenset(chosen)


def first_fit(path: str, classes: Sequence[tuple[str, str]]) -> str | None:
    """The class of a file by the first of `classes` (folder, class) that holds it; null where none does."""
    return next((name for folder, name in classes if path.startswith(f"{folder}/")), None)


def spoken(slug: str) -> str:
    """A file or icon name as words: "sword-brandish_2" becomes "sword brandish"."""
    words = re.sub(r"[-_./\s]+", " ", slug).strip()
    return re.sub(r"(?<=\D)\s*\d+$", "", words)


def with_article(noun: str) -> str:
    """A singular noun with "a" or "an"; a word for stuff as it is."""
    if noun in _MASS_NOUNS:
        return noun
    return f"an {noun}" if noun[:1].lower() in "aeiou" else f"a {noun}"
