"""A gallery beside the zoo of today: whether they fit, and what may be put in."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from service.errors import GalleryStaleError, InvalidItemError
from service.galleries.base import GalleryMember, GallerySpec
from service.pipeline.logits import Floats
from service.policies import Modality
from service.repository import Backbone, Zoo

LARGEST: Final = 1e6
"""Of a number in a ready embedding: inner products of such ones are far from where float32 ends."""
LITTLE_ENDIAN: Final = np.dtype("<f4")


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """An embedding that is brought along: `float32[width]` as it is kept, and the digest of what was sent."""

    embedding: Floats
    digest: str
    modality: Modality


def member_of(backbone: Backbone) -> GalleryMember:
    return GalleryMember(
        name=backbone.name,
        width=backbone.embedding_dim,
        image=backbone.image.digest,
        text=backbone.text.digest,
        geometry=backbone.preprocessing.geometry,
    )


def default_prefix(backbones: Sequence[Backbone]) -> tuple[str, ...]:
    """The cheapest backbones that together cost at most half of what all do; at least one. Cheapest first."""
    budget = sum(each.gflops for each in backbones) / 2
    chosen: list[str] = []
    for backbone in sorted(backbones, key=lambda each: (each.gflops, each.name)):
        budget -= backbone.gflops
        if budget < 0 and chosen:
            break
        chosen.append(backbone.name)
    return tuple(chosen)


def stale_reason(spec: GallerySpec, zoo: Zoo) -> str | None:
    """Why embeddings of today cannot be compared with the gallery's, one sentence; None where they can."""
    served = {backbone.name: member_of(backbone) for backbone in zoo.backbones}
    for member in spec.members:
        if member.name not in served:
            return f'The gallery was made with "{member.name}", which is not served any more.'
        if served[member.name] != member:
            return f'The gallery was made with other towers or another preprocessing of "{member.name}".'
    return None


def members_served(spec: GallerySpec, zoo: Zoo) -> tuple[Backbone, ...]:
    """The gallery's backbones, in its order. Raises `GalleryStaleError` with the command that rebuilds it."""
    reason = stale_reason(spec, zoo)
    if reason is not None:
        raise GalleryStaleError(f"{reason} Build it anew: quorum index {spec.name} FOLDER --rebuild", param="name")
    by_name = {backbone.name: backbone for backbone in zoo.backbones}
    return tuple(by_name[member.name] for member in spec.members)


def read_embedding(given: Sequence[float] | str, spec: GallerySpec, param: str) -> Floats:
    """A ready embedding as it was sent, `float32[width]`. Raises `InvalidItemError`, blaming `param`."""
    if isinstance(given, str):
        try:
            content = base64.b64decode(given, validate=True)
        except (binascii.Error, ValueError):
            raise InvalidItemError("The embedding is neither a list of numbers nor base64.", param=param) from None
        if len(content) % LITTLE_ENDIAN.itemsize:
            raise InvalidItemError("The embedding's base64 is not of float32 numbers, 4 bytes each.", param=param)
        embedding = np.frombuffer(content, dtype=LITTLE_ENDIAN).astype(np.float32)
    else:
        with np.errstate(over="ignore"):
            embedding = np.asarray(given, dtype=np.float32)
    if len(embedding) != spec.width:
        raise InvalidItemError(
            f"The embedding has {len(embedding):,} numbers, this gallery's have {spec.width:,}: those of "
            f"{', '.join(member.name for member in spec.members)} side by side.",
            param=param,
        )
    if not (np.abs(embedding) <= LARGEST).all():
        raise InvalidItemError(f"The embedding has a number that is not within ±{LARGEST:.0e}.", param=param)
    return embedding


def as_kept(embedding: Floats, spec: GallerySpec, param: str) -> Floats:
    """What the gallery keeps of a ready embedding `float32[width]`: with metric `cosine` each part is made unit-length.

    Raises `InvalidItemError` for a part without direction.
    """
    return embedding if spec.metric == "ip" else _unit_parts(embedding, spec, param)


def digest_of_embedding(embedding: Floats) -> str:
    return hashlib.sha256(embedding.astype(LITTLE_ENDIAN).tobytes()).hexdigest()


def digest_of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _unit_parts(embedding: Floats, spec: GallerySpec, param: str) -> Floats:
    parts = []
    for name, place in spec.parts.items():
        part = embedding[place].astype(np.float64)
        length = np.linalg.norm(part)
        if length == 0:
            raise InvalidItemError(f"The embedding's part of {name} is all zeros; it has no direction.", param=param)
        parts.append(part / length)
    return np.concatenate(parts).astype(np.float32)
