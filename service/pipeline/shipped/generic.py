"""Whether the generic controller of a model repository speaks here.

It reads opinions alone and could weigh any backbones, but it was found to beat the mean with one committee only. With
another, or with a member that was trained anew, nobody knows: then it is refused, and the mean answers.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.pipeline.controller.controller import static_controller
from service.pipeline.planner import FittedController
from service.pipeline.shipped.generic_file import GenericFile, read_generic
from service.repository import Zoo

log = logging.getLogger(__name__)

DIGITS: Final = 12
"""Of the file's digest in the name: enough that two files of one repository's history never share one."""


@dataclass(frozen=True, slots=True, eq=False)
class ShippedGeneric:
    """`reason` says why it does not apply to this zoo, one sentence; None where it does, and `controller` speaks."""

    file: GenericFile
    controller: FittedController | None
    reason: str | None

    @property
    def name(self) -> str:
        """How answers call it. No label set's version is called so: their names hold no @."""
        return f"generic@{self.file.digest[:DIGITS]}"


def load_shipped(root: Path, zoo: Zoo) -> ShippedGeneric | None:
    """What the repository at `root` ships; None when it ships none. Raises `RepositoryError` for a broken file."""
    file = read_generic(root)
    if file is None:
        return None
    committee = zoo.committee
    reason = file.about.change(committee.backbones)
    refused = ShippedGeneric(file, None, reason)
    if reason is not None:
        log.warning("the generic controller is not used", extra={"controller": refused.name, "reason": reason})
        return refused
    widths = [backbone.embedding_dim for backbone in committee.backbones]
    controller = static_controller(committee.names, widths, generic=file.generic)
    return ShippedGeneric(file, FittedController(refused.name, None, controller), None)
