"""What a scene's picture would be called: its objects, their looks, and where they are to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
BESIDE_DEPTH = 1.25
"""Objects whose depths differ by more than this factor stand before or behind each other."""


@dataclass(frozen=True)
class Seen:
    """One object in the picture. box: x0, y0, x1, y1 in pixels, far ends exclusive; depth: median over its pixels;
    pixels: how many show it."""

    name: str
    looks: str
    box: tuple[int, int, int, int]
    depth: float
    pixels: int

    @property
    def called(self) -> str:
        """With its article: "an orange ball"."""
        return with_article(f"{self.looks} {self.name}".strip())


def with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def relation(first: Seen, second: Seen) -> str:
    """Where `first` is, seen from `second`: before, behind, to a side or beside."""
    if first.depth * BESIDE_DEPTH < second.depth:
        return "in front of"
    if second.depth * BESIDE_DEPTH < first.depth:
        return "behind"
    apart = (first.box[0] + first.box[2]) / 2 - (second.box[0] + second.box[2]) / 2
    wide = max(first.box[2] - first.box[0], second.box[2] - second.box[0])
    if abs(apart) < wide / 2:
        return "beside"
    return "to the left of" if apart < 0 else "to the right of"


def _counted(seen: Sequence[Seen]) -> str:
    """ "two trees, a mug and a car": every class once, the larger objects first."""
    counts: dict[str, int] = {}
    for each in seen:
        counts[each.name] = counts.get(each.name, 0) + 1
    words = [with_article(name) if n == 1 else f"{NUMBERS[n]} {_plural(name)}" for name, n in counts.items()]
    return _listed(words)


def _plural(name: str) -> str:
    return f"{name}es" if name.endswith(("x", "ch", "sh")) else f"{name}s"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def captions(seen: Sequence[Seen], place: str, rng: np.random.Generator) -> tuple[str, ...]:
    """Two to four captions, without repeats; `seen`: visible objects, the largest first; `place`: "on grass", or ""."""
    if not seen:
        return (f"an empty place {place}".strip() if place else "a photo without added objects",)
    somewhere = f" {place}" if place else ""
    largest = list(dict.fromkeys(each.called for each in seen))[:3]
    made = [_listed(largest) + somewhere, _counted(seen)]
    if len(seen) > 1:
        first, second = (seen[i] for i in rng.permutation(min(3, len(seen)))[:2])
        between = "beside" if rng.random() < 0.3 else relation(first, second)
        if between == "beside" and relation(first, second) in ("in front of", "behind"):
            between = "near"
        made.append(f"{first.called} {between} {second.called}")
    made.append(f"{seen[0].called}{somewhere}")
    return tuple(dict.fromkeys(made))
