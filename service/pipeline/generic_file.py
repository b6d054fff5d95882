"""The generic controller that a model repository ships: one optional safetensors file at its root.

Its arrays are the small network that all backbones share (`controller.Generic`), its metadata one JSON text under
`METADATA_KEY`: the committee and the sources that it was fitted and judged with. `python -m training generic` writes
it, and only where it beat the probability mean on sources that it was fitted without.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import FiniteFloat, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from service.errors import RepositoryError
from service.pipeline.artefacts import committee_change, committee_of
from service.pipeline.controller import Generic
from service.repository import Backbone

FILE_NAME: Final = "generic_controller.safetensors"
FORMAT: Final = 1
METADATA_KEY: Final = "quorum"
ARRAYS: Final = ("w1", "c1", "w2", "c2")
MEND: Final = "write it anew with `python -m training generic`, or remove it"


@dataclass(frozen=True, slots=True)
class CommitteeMember:
    """A backbone of the judged committee: all of it that an answer depends on (`artefacts.committee_of`)."""

    name: str
    image: str
    text: str
    geometry: str
    scale: FiniteFloat
    gflops: FiniteFloat


@dataclass(frozen=True, slots=True)
class JudgedSource:
    """A source that the controller was fitted on, and how the fit *without* it did there, beside the probability mean.

    Balanced accuracies are shares of 1, losses mean negative log likelihoods in nats at the best temperature.
    `rows_sha256` is the digest of its pictures.
    """

    name: str
    rows_sha256: str
    images: int
    classes: int
    accuracy: FiniteFloat
    mean_accuracy: FiniteFloat
    loss: FiniteFloat
    mean_loss: FiniteFloat


@dataclass(frozen=True, slots=True)
class GenericAbout:
    """Where a generic controller comes from. There is at least one member and one source."""

    seed: int
    committee: tuple[CommitteeMember, ...]
    sources: tuple[JudgedSource, ...]

    @property
    def accuracy_gain(self) -> float:
        """Over the probability mean, averaged over the sources, each counting the same."""
        return float(np.mean([each.accuracy - each.mean_accuracy for each in self.sources]))

    @property
    def loss_gain(self) -> float:
        """In nats, positive where it predicts better."""
        return float(np.mean([each.mean_loss - each.loss for each in self.sources]))

    def change(self, backbones: Sequence[Backbone]) -> str | None:
        """How `backbones` differ from those that it was judged with, one sentence; None where they do not."""
        return committee_change({"committee": [asdict(member) for member in self.committee]}, backbones)


@dataclass(frozen=True, slots=True, eq=False)
class GenericFile:
    """`digest` is the sha256 of the file."""

    generic: Generic
    about: GenericAbout
    digest: str


ABOUT: Final = TypeAdapter(GenericAbout)


def committee_members(backbones: Sequence[Backbone]) -> tuple[CommitteeMember, ...]:
    return tuple(CommitteeMember(**member) for member in committee_of(backbones))


def write_generic(root: Path, generic: Generic, about: GenericAbout) -> Path:
    """Into the repository at `root`, in one step: a gateway that starts meanwhile reads the old file or the new one.

    The same controller gives the same bytes. Raises `ValueError` for a number that is not finite.
    """
    text = json.dumps({"format": FORMAT, **asdict(about)}, allow_nan=False)
    arrays = {name: np.ascontiguousarray(getattr(generic, name)) for name in ARRAYS}
    path = root / FILE_NAME
    partial = path.with_name(f".{FILE_NAME}.{os.getpid()}.partial")
    try:
        save_file(arrays, partial, {METADATA_KEY: text})
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def read_generic(root: Path) -> GenericFile | None:
    """None where the repository at `root` ships none. Raises `RepositoryError` for a file that cannot be used."""
    path = root / FILE_NAME
    if not os.path.lexists(path):
        return None
    try:
        content = path.read_bytes()  # once: digest and arrays are of one file, whatever replaces it meanwhile
        arrays, metadata = load(content), _metadata(content)
    except OSError as error:
        raise RepositoryError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise RepositoryError(f"{path}: damaged, or no safetensors file; {MEND}") from error
    about = _about(metadata, path)
    try:
        return GenericFile(
            Generic(**{name: arrays[name] for name in ARRAYS}), about, hashlib.sha256(content).hexdigest()
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RepositoryError(f"{path}: its arrays are not those of a generic controller; {MEND}") from error


def _metadata(content: bytes) -> dict[str, str]:
    """Of a safetensors file: 8 bytes of length, little-endian, and a JSON header."""
    length = int.from_bytes(content[:8], "little")
    found: dict[str, str] = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return found


def _about(metadata: dict[str, str], path: Path) -> GenericAbout:
    try:
        content: Any = json.loads(metadata[METADATA_KEY])
        found = content["format"]
    except (KeyError, TypeError, ValueError) as error:
        raise RepositoryError(f"{path}: its metadata do not name a format of generic controllers; {MEND}") from error
    if found != FORMAT:
        raise RepositoryError(f"{path}: its format is {found!r}, this version reads format {FORMAT}; {MEND}")
    try:
        about = ABOUT.validate_json(metadata[METADATA_KEY], strict=True)
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise RepositoryError(f"{path}: its metadata are wrong at {field!r}; {MEND}") from error
    if not about.committee or not about.sources:
        raise RepositoryError(f"{path}: its metadata name no committee or no sources; {MEND}")
    return about
