"""Fitted controllers and calibrated cascades as files: safetensors and a JSON description.

Both are bound to the committee that they were made for: the same backbones, with the same weights and temperatures. One
made for another committee is refused with a reason and never applied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from service.pipeline.cascade.arrays import from_arrays, to_arrays
from service.pipeline.cascade.cascade import Cascade
from service.pipeline.controller.controller import Controller, Generic
from service.pipeline.plan import Promise
from service.policies import ArtefactKind
from service.repository import Backbone
from service.stores.base import Artefact, ArtefactContent

FORMAT: Final = 1
DIGEST_BYTES: Final = 32
Json = dict[str, Any]


class ArtefactError(ValueError):
    """The file is damaged or of another version of this program."""


def is_readable(metadata: Mapping[str, Any], kind: ArtefactKind) -> bool:
    """Whether this version of the program knows the format; asked before anything else is read of an artefact."""
    return metadata.get("format") == FORMAT and kind in metadata


def pack_controller(
    controller: Controller, backbones: Sequence[Backbone], digests: Sequence[str], about: Mapping[str, Any]
) -> ArtefactContent:
    """`digests` are those of the examples' bytes, so that a calibration can leave them out; `about` is for callers."""
    arrays = {"w1": controller.w1, "c1": controller.c1, "w2": controller.w2, "c2": controller.c2}
    if controller.generic is not None:
        generic = controller.generic
        arrays |= {f"generic.{name}": getattr(generic, name) for name in ("w1", "c1", "w2", "c2")}
    tensors: dict[str, NDArray[Any]] = {**arrays, "examples": _packed(digests)}
    form = {
        "backbones": list(controller.backbones),
        "widths": list(controller.widths),
        "any_subset": controller.any_subset,
    }
    metadata = {"format": FORMAT, "committee": committee_of(backbones), "controller": form, "about": dict(about)}
    return ArtefactContent(save(tensors), metadata)


def unpack_controller(artefact: Artefact) -> Controller:
    """Raises `ArtefactError`."""
    form, arrays = _open(artefact, "controller")
    try:
        controller = Controller(
            backbones=tuple(form["backbones"]),
            widths=tuple(form["widths"]),
            any_subset=form["any_subset"],
            generic=_part(Generic, arrays, "generic.") if "generic.w1" in arrays else None,
            **{name: arrays[name] for name in ("w1", "c1", "w2", "c2")},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"no controller: {error}") from error
    if sorted(controller.backbones) != sorted(_members(artefact)):  # it keeps an order of its own
        raise ArtefactError(f"a controller of {', '.join(controller.backbones)} for another committee")
    return controller


def fitted_digests(artefact: Artefact) -> frozenset[str]:
    """Digests of the images that a controller was fitted on. Raises `ArtefactError`."""
    _, arrays = _open(artefact, "controller")
    return frozenset(row.tobytes().hex() for row in arrays["examples"])


def pack_cascade(
    cascade: Cascade,
    backbones: Sequence[Backbone],
    controller: str | None,
    promise: Promise,
    about: Mapping[str, Any],
) -> ArtefactContent:
    """`backbones` are those behind the cascade's positions, `controller` names the pinned one (None: the mean)."""
    form = {"controller": controller, "epsilon": promise.epsilon, "delta": promise.delta}
    metadata = {"format": FORMAT, "committee": committee_of(backbones), "cascade": form, "about": dict(about)}
    return ArtefactContent(save(to_arrays(cascade)), metadata)


def unpack_cascade(artefact: Artefact) -> tuple[Cascade, tuple[str, ...], Promise]:
    """The cascade, the names behind its positions, and its promise. Raises `ArtefactError`."""
    form, arrays = _open(artefact, "cascade")
    names = _members(artefact)
    try:
        cascade, promise = from_arrays(arrays), Promise(form["epsilon"], form["delta"])
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"no cascade: {error}") from error
    if len(cascade.gflops) != len(names):
        raise ArtefactError(f"a cascade of {len(cascade.gflops)} backbones for a committee of {len(names)}")
    return cascade, names, promise


def promise_of(metadata: Mapping[str, Any]) -> Promise | None:
    """What a cascade promises; None where its format is not read."""
    if not is_readable(metadata, "cascade"):
        return None
    return Promise(metadata["cascade"]["epsilon"], metadata["cascade"]["delta"])


def committee_of(backbones: Sequence[Backbone]) -> list[Json]:
    """All of a committee that an answer depends on, in order."""
    return [
        {
            "name": backbone.name,
            "image": backbone.image.digest,
            "text": backbone.text.digest,
            "geometry": backbone.preprocessing.geometry,
            "scale": backbone.logit_scale / backbone.temperature,
            "gflops": backbone.gflops,
        }
        for backbone in backbones
    ]


def committee_change(metadata: Mapping[str, Any], backbones: Sequence[Backbone]) -> str | None:
    """What is different from the committee that an artefact was made for, one sentence; None when nothing is."""
    then = {member["name"]: member for member in metadata["committee"]}
    now = {member["name"]: member for member in committee_of(backbones)}
    for name in [*then, *now]:
        if name not in now:
            return f'The backbone "{name}", which it was made with, is not served any more.'
        if name not in then:
            return f'The backbone "{name}" came to the zoo after it was made.'
        if then[name] != now[name]:
            return f'The backbone "{name}" has other weights, preprocessing or temperature than when it was made.'
    return None


def _packed(digests: Sequence[str]) -> NDArray[np.uint8]:
    return np.frombuffer(bytes.fromhex("".join(digests)), dtype=np.uint8).reshape(len(digests), DIGEST_BYTES)


def _members(artefact: Artefact) -> tuple[str, ...]:
    return tuple(member["name"] for member in artefact.about.metadata["committee"])


def _open(artefact: Artefact, kind: ArtefactKind) -> tuple[Json, dict[str, NDArray[Any]]]:
    metadata = artefact.about.metadata
    if not is_readable(metadata, kind):
        raise ArtefactError(f"format {metadata.get('format')} of a {kind} is not read by this version")
    try:
        return dict(metadata[kind]), load(artefact.tensors)
    except SafetensorError as error:
        raise ArtefactError(f"damaged tensors: {error}") from error


def _part(kind: type[Generic], arrays: Mapping[str, NDArray[Any]], prefix: str) -> Generic:
    return kind(**{name: arrays[f"{prefix}{name}"] for name in ("w1", "c1", "w2", "c2")})
