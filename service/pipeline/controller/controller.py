"""The Neural Logit Controller: what it is and how it weighs. Pure functions on arrays.

A controller reads the unit embeddings of one image by all backbones, `x = concat_b(e_b)`, and answers one positive
weight per backbone: `h = relu(W1 x + c1)`, `t = W2 h + c2`, `a_b = softplus(t_b + k)` with `softplus(k) = 1`. The
committee's logits are `z = (1/|S|) sum_{b in S} a_b z_b` over the backbones S that answered; the others are zero in x.
With `W2 = 0` and `c2 = 0` every weight is 1 and the committee is the plain mean of logits. (Rodriguez-Opazo et al.,
"Synergy and Diversity in CLIP", ICLR 2025; the form of `a_b` and the start are ours, the paper leaves them open.)

A generic part, fitted over many label sets, may add to t what it makes of the backbones' opinions of this label set.

Axes: `b` backbones, `n` images, `c` classes, `d` width of one backbone's embedding, `h` hidden width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from service.pipeline.controller.opinions import OPINIONS, opinions_of
from service.pipeline.logits import Floats

UNIT_SHIFT: Final = math.log(math.e - 1)
"""k of `softplus(t + k)`: a weight of exactly 1 where nothing was learnt."""

LEAST_WEIGHT: Final = 1e-6
"""Softplus underflows to 0 far below; a committee whose weights are all 0 has no cosine (`0 / 0`)."""


@dataclass(frozen=True, slots=True, eq=False)
class Generic:
    """One small network that all backbones share: `w1 float32[h, OPINIONS]`, `c1 float32[h]`, `w2 float32[1, h]`,
    `c2 float32[1]`.

    It reads one backbone's opinion of a label set and the others' (`controller_opinions`), knows nobody by name and so
    cannot learn whom to trust, only how trust shows. It weighs any number of backbones.
    """

    w1: Floats
    c1: Floats
    w2: Floats
    c2: Floats

    def __post_init__(self) -> None:
        """Raises `ValueError` where shapes do not belong together or a number is not finite."""
        hidden = len(self.c1)
        _check_arrays((self.w1, self.c1, self.w2, self.c2), ((hidden, OPINIONS), (hidden,), (1, hidden), (1,)))

    def outputs(self, opinions: Floats) -> Floats:
        """`float32[n, b]`, what is added to t, from opinions `float32[n, b, OPINIONS]`."""
        hidden = np.maximum(opinions @ self.w1.T + self.c1, 0)
        return np.asarray((hidden @ self.w2.T + self.c2)[..., 0], dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Controller:
    """`w1` is `float32[h, sum of widths]`, `c1` `float32[h]`, `w2` `float32[b, h]`, `c2` `float32[b]`.

    The inputs are the embeddings in the order of `backbones`, `widths` long. With `h = 0` and no generic part the
    weights are static, the same for every image. `any_subset` says that it was fitted to weigh any subset of its
    backbones; without it all of them must be there.
    """

    backbones: tuple[str, ...]
    widths: tuple[int, ...]
    w1: Floats
    c1: Floats
    w2: Floats
    c2: Floats
    generic: Generic | None = None
    any_subset: bool = True
    _place: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Raises `ValueError` where shapes do not belong together or a number is not finite."""
        count, hidden = len(self.backbones), len(self.c1)
        if not count or len(set(self.backbones)) != count or len(self.widths) != count:
            raise ValueError("a controller needs one width for each of its distinct backbones")
        shapes = ((hidden, sum(self.widths)), (hidden,), (count, hidden), (count,))
        _check_arrays((self.w1, self.c1, self.w2, self.c2), shapes)
        object.__setattr__(self, "_place", {name: index for index, name in enumerate(self.backbones)})

    @property
    def hidden(self) -> int:
        return len(self.c1)

    def places(self, names: Sequence[str]) -> list[int]:
        """Where `names` are among the backbones. Raises `ValueError` for what this controller cannot weigh."""
        known = all(name in self._place for name in names)
        if not known or not names or len(set(names)) != len(names):
            raise ValueError(f"a controller of {', '.join(self.backbones)} cannot weigh {', '.join(names) or 'nobody'}")
        if len(names) < len(self.backbones) and not self.any_subset:
            raise ValueError(
                f"this controller weighs {', '.join(self.backbones)} together, not {', '.join(names)} alone"
            )
        return [self._place[name] for name in names]


def static_controller(
    backbones: Sequence[str], widths: Sequence[int], c2: Floats | None = None, generic: Generic | None = None
) -> Controller:
    """A controller that reads no image. Without `c2` (`float32[b]`) and generic part it is the logit mean."""
    count = len(backbones)
    return Controller(
        backbones=tuple(backbones),
        widths=tuple(widths),
        w1=np.zeros((0, sum(widths)), dtype=np.float32),
        c1=np.zeros(0, dtype=np.float32),
        w2=np.zeros((count, 0), dtype=np.float32),
        c2=np.zeros(count, dtype=np.float32) if c2 is None else c2,
        generic=generic,
    )


def weigh(controller: Controller, names: Sequence[str], embeddings: Sequence[Floats], logits: Floats) -> Floats:
    """Positive weights `float32[b, n]` of the backbones `names`, in their order.

    `embeddings[i]` is `float32[n, d]`, unit rows, of `names[i]`; `logits` is `float32[b, n, c]`. Backbones that are not
    named count as absent. Raises `ValueError` for names that the controller cannot weigh.
    """
    places = controller.places(names)
    t = np.tile(controller.c2[places], (logits.shape[1], 1))
    if controller.hidden:
        bounds = np.cumsum((0, *controller.widths))
        activation = np.tile(controller.c1, (logits.shape[1], 1))
        for place, rows in zip(places, embeddings, strict=True):
            activation += rows @ controller.w1[:, bounds[place] : bounds[place + 1]].T
        t += np.maximum(activation, 0) @ controller.w2[places].T
    if controller.generic is not None:
        t += controller.generic.outputs(opinions_of(logits).of_all())
    return np.ascontiguousarray(positive(t).T)


def committee_logits(weights: Floats, logits: Floats) -> Floats:
    """`z = (1/|S|) sum_b a_b z_b`: `float32[..., c]` from weights `float32[b, ...]` and logits `float32[b, ..., c]`."""
    return np.asarray((weights[..., None] * logits).mean(axis=0), dtype=np.float32)


def positive(t: Floats) -> Floats:
    """`softplus(t + k)`, which is 1 at 0, for any finite `t` without overflow."""
    shifted = t + np.float32(UNIT_SHIFT)
    weights = np.maximum(shifted, 0) + np.log1p(np.exp(-np.abs(shifted)))
    return np.asarray(np.maximum(weights, LEAST_WEIGHT), dtype=np.float32)


def _check_arrays(arrays: Sequence[Floats], shapes: Sequence[tuple[int, ...]]) -> None:
    found = tuple(array.shape for array in arrays)
    if found != tuple(shapes):
        raise ValueError(f"the shapes {found} do not belong together; expected {tuple(shapes)}")
    if any(array.dtype != np.float32 or not np.isfinite(array).all() for array in arrays):
        raise ValueError("a controller's numbers are finite float32")
