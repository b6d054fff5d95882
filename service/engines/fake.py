"""An engine without models, for tests and for work on everything around it.

A row's embedding is a unit vector drawn from a generator seeded with the row's bytes and the tower's name: the same row
always gives the same embedding, whatever its neighbours.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.deadline import Deadline, deadline_error
from service.engines.base import Outcome, Row
from service.errors import BackboneFailedError, UnavailableError
from service.repository import Zoo


@dataclass(slots=True)
class Faults:
    """What shall go wrong, by tower name; tests change it while the engine runs."""

    failing: set[str] = field(default_factory=set)
    dead: set[str] = field(default_factory=set)
    delay_s: dict[str, float] = field(default_factory=dict)


class FakeEngine:
    def __init__(self, zoo: Zoo, faults: Faults | None = None) -> None:
        towers = [tower for backbone in zoo.backbones for tower in (backbone.image, backbone.text)]
        self._widths = {tower.name: tower.config.embedding_dim for tower in towers}
        self.faults = faults or Faults()
        self.calls: list[tuple[str, int]] = []
        """(tower, rows) of every call, in order."""

    async def start(self) -> None:
        return None

    async def embed(self, tower: str, rows: Sequence[Row], deadline: Deadline) -> list[Outcome]:
        self.calls.append((tower, len(rows)))
        delay_s = self.faults.delay_s.get(tower, 0.0)
        if delay_s > deadline.remaining_s:
            await asyncio.sleep(deadline.remaining_s)
            return [deadline_error(f"waiting for {tower}")] * len(rows)
        await asyncio.sleep(delay_s)
        if tower in self.faults.dead:
            return [UnavailableError(f"A worker of {tower} died.", retry_after_s=1.0)] * len(rows)
        if tower in self.faults.failing:
            return [BackboneFailedError(f"{tower} failed on this input.", retry_after_s=1.0)] * len(rows)
        return [self._embedding(tower, row) for row in rows]

    def problems(self) -> list[str]:
        return [f"A worker of {tower} died; the process has to be restarted." for tower in sorted(self.faults.dead)]

    async def close(self) -> None:
        return None

    def _embedding(self, tower: str, row: Row) -> NDArray[np.float32]:
        seed = hashlib.sha256(tower.encode() + row.tobytes()).digest()[:8]
        vector = np.random.default_rng(int.from_bytes(seed)).standard_normal(self._widths[tower])
        return (vector / np.linalg.norm(vector)).astype(np.float32)
