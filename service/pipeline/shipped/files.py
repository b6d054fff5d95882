"""What a model repository ships at its root beside its towers: safetensors files, each optional.

Each holds arrays, and one JSON text of metadata under `METADATA_KEY` with a format number: the committee that it was
fitted with, where it comes from, how it was judged. Shared by `generic_file` and `retrieval_file`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import FiniteFloat, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from service.errors import RepositoryError
from service.pipeline.artefacts import committee_change, committee_of
from service.repository import Backbone

METADATA_KEY: Final = "quorum"

Content = TypeVar("Content")
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class CommitteeMember:
    """A backbone of the judged committee: all of it that an answer depends on (`artefacts.committee_of`)."""

    name: str
    image: str
    text: str
    geometry: str
    scale: FiniteFloat
    gflops: FiniteFloat


def committee_members(backbones: Sequence[Backbone]) -> tuple[CommitteeMember, ...]:
    return tuple(CommitteeMember(**member) for member in committee_of(backbones))


def members_change(members: Sequence[CommitteeMember], backbones: Sequence[Backbone]) -> str | None:
    """How `backbones` differ from `members`, one sentence; None where they do not."""
    return committee_change({"committee": [asdict(member) for member in members]}, backbones)


@dataclass(frozen=True, slots=True)
class FileForm:
    """One kind of shipped file. `noun` names what is in it, in the plural; `command` writes it anew."""

    name: str
    format: int
    noun: str
    command: str

    def broken(self, path: Path, reason: str) -> RepositoryError:
        """The error of a file that cannot be used."""
        return RepositoryError(f"{path}: {reason}; write it anew with `{self.command}`, or remove it")

    def write(self, root: Path, arrays: Arrays, about: Mapping[str, Any]) -> Path:
        """Into the repository at `root`, in one step: a gateway that starts meanwhile reads the old file or the new.

        The same content gives the same bytes. Raises `ValueError` for a number in `about` that is not finite.
        """
        metadata = {METADATA_KEY: json.dumps({"format": self.format, **about}, allow_nan=False)}
        path = root / self.name
        partial = path.with_name(f".{self.name}.{os.getpid()}.partial")
        try:
            # Not `save_file`: what that writes is for its owner alone, and a gateway may run as somebody else.
            partial.write_bytes(save({key: np.ascontiguousarray(each) for key, each in arrays.items()}, metadata))
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return path

    def withdraw(self, root: Path) -> Path | None:
        """Remove the file from the repository at `root`; where it lay, None where there was none."""
        path = root / self.name
        if not path.is_file():
            return None
        path.unlink()
        return path

    def read(self, root: Path, about: TypeAdapter[Content]) -> ReadFile[Content] | None:
        """None where the repository at `root` ships none. Raises `RepositoryError` for a file that cannot be used."""
        path = root / self.name
        if not os.path.lexists(path):
            return None
        try:
            content = path.read_bytes()  # once: digest and arrays are of one file, whatever replaces it meanwhile
            arrays, metadata = load(content), _metadata(content)
        except OSError as error:
            raise RepositoryError(f"{path}: cannot be read: {error.strerror or error}") from error
        except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise self.broken(path, "damaged, or no safetensors file") from error
        return ReadFile(path, arrays, self._about(metadata, path, about), hashlib.sha256(content).hexdigest())

    def _about(self, metadata: Mapping[str, str], path: Path, about: TypeAdapter[Content]) -> Content:
        try:
            content: Any = json.loads(metadata[METADATA_KEY])
            found = content["format"]
        except (KeyError, TypeError, ValueError) as error:
            raise self.broken(path, f"its metadata do not name a format of {self.noun}") from error
        if found != self.format:
            raise self.broken(path, f"its format is {found!r}, this version reads format {self.format}")
        try:
            return about.validate_json(metadata[METADATA_KEY], strict=True)
        except ValidationError as error:
            field = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise self.broken(path, f"its metadata are wrong at {field!r}") from error


@dataclass(frozen=True, slots=True, eq=False)
class ReadFile(Generic[Content]):
    """A shipped file as it lies on disk; `digest` is the sha256 of all of it."""

    path: Path
    arrays: Arrays
    about: Content
    digest: str


def _metadata(content: bytes) -> dict[str, str]:
    """Of a safetensors file: 8 bytes of length, little-endian, and a JSON header."""
    length = int.from_bytes(content[:8], "little")
    found: dict[str, str] = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return found
