"""Whether the retrieval controllers of a model repository speak here.

They know the backbones by name and read their embeddings. A member that is gone, or was trained anew, makes all of what
was learnt about it and beside it worthless: then they are refused, and searches weigh backbones alike. Backbones that
came to the zoo later take nothing from them; galleries that hold those cannot be weighed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from service.pipeline.shipped.generic import DIGITS
from service.pipeline.shipped.retrieval_file import QUERY_KINDS, RetrievalFile, read_retrieval
from service.repository import Zoo

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class ShippedRetrieval:
    """`reason` says why it does not apply to this zoo, one sentence; None where it does."""

    file: RetrievalFile
    reason: str | None

    @property
    def name(self) -> str:
        """How answers call it."""
        return f"retrieval@{self.file.digest[:DIGITS]}"

    def speaks_for(self, names: Sequence[str]) -> bool:
        """Whether it applies here, and weighs all of the backbones `names`."""
        if self.reason is not None:
            return False
        try:
            for kind in QUERY_KINDS:
                self.file.controllers[kind].places(names)
        except ValueError:
            return False
        return True


def load_shipped_retrieval(root: Path, zoo: Zoo) -> ShippedRetrieval | None:
    """What the repository at `root` ships; None when it ships none. Raises `RepositoryError` for a broken file."""
    file = read_retrieval(root)
    if file is None:
        return None
    shipped = ShippedRetrieval(file, file.about.change(zoo.backbones) or _other_widths(file, zoo))
    if shipped.reason is not None:
        log.warning(
            "the retrieval controllers are not used", extra={"controller": shipped.name, "reason": shipped.reason}
        )
    return shipped


def _other_widths(file: RetrievalFile, zoo: Zoo) -> str | None:
    """The sum of the widths is that of the arrays; a file made by hand may still share it out otherwise."""
    widths = {backbone.name: backbone.embedding_dim for backbone in zoo.backbones}
    for name, width in zip(file.backbones, file.controllers["text"].widths, strict=True):
        if widths[name] != width:
            return f'It reads {width} numbers of the backbone "{name}", which answers {widths[name]}.'
    return None
