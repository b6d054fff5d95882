"""The generic controller that a model repository ships: one optional safetensors file at its root.

Its arrays are the small network that all backbones share (`controller.Generic`), its metadata one JSON text under
`METADATA_KEY`: the committee and the sources that it was fitted and judged with. `python -m training generic` writes
it, and only where it beat the probability mean on sources that it was fitted without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import FiniteFloat, TypeAdapter

from service.pipeline.controller.controller import Generic
from service.pipeline.shipped.files import METADATA_KEY as METADATA_KEY
from service.pipeline.shipped.files import CommitteeMember as CommitteeMember
from service.pipeline.shipped.files import FileForm, members_change
from service.pipeline.shipped.files import committee_members as committee_members
from service.repository import Backbone

FILE_NAME: Final = "generic_controller.safetensors"
ARRAYS: Final = ("w1", "c1", "w2", "c2")
FORM: Final = FileForm(FILE_NAME, 1, "generic controllers", "python -m training generic")


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
        return members_change(self.committee, backbones)


@dataclass(frozen=True, slots=True, eq=False)
class GenericFile:
    """`digest` is the sha256 of the file."""

    generic: Generic
    about: GenericAbout
    digest: str


ABOUT: Final = TypeAdapter(GenericAbout)


def write_generic(root: Path, generic: Generic, about: GenericAbout) -> Path:
    """Into the repository at `root`, in one step; the same controller gives the same bytes.

    Raises `ValueError` for a number that is not finite.
    """
    return FORM.write(root, {name: getattr(generic, name) for name in ARRAYS}, asdict(about))


def read_generic(root: Path) -> GenericFile | None:
    """None where the repository at `root` ships none. Raises `RepositoryError` for a file that cannot be used."""
    found = FORM.read(root, ABOUT)
    if found is None:
        return None
    if not found.about.committee or not found.about.sources:
        raise FORM.broken(found.path, "its metadata name no committee or no sources")
    try:
        generic = Generic(**{name: found.arrays[name] for name in ARRAYS})
    except (KeyError, TypeError, ValueError) as error:
        raise FORM.broken(found.path, "its arrays are not those of a generic controller") from error
    return GenericFile(generic, found.about, found.digest)
