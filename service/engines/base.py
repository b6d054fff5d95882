"""The seam between the pipeline and whatever executes a tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service.deadline import Deadline
from service.errors import QuorumError

Row = NDArray[Any]
"""One item of a tower's input: `uint8[h, w, 3]` or `int64[context_length]`."""

Outcome = NDArray[np.float32] | QuorumError
"""One row's answer: a unit-length `float32[d]`, or why there is none. One row's failure is never its neighbours'."""


class EngineObserver(Protocol):
    """Told what an engine did; a seam of its own so that engines know nothing of metrics."""

    def batch_done(self, tower: str, rows: int, seconds: float) -> None: ...

    def row_waited(self, tower: str, seconds: float) -> None: ...


class Engine(Protocol):
    """Executes towers, named as in the model repository (`<backbone>_image`, `<backbone>_text`).

    `embed` answers with one outcome per row, in order, at the latest when `deadline` passes; it raises nothing for a
    failing tower. An outcome must not depend on the other rows.
    """

    async def start(self) -> None:
        """Load and warm every tower. Raises `StartupError`."""

    async def embed(self, tower: str, rows: Sequence[Row], deadline: Deadline) -> list[Outcome]: ...

    def problems(self) -> list[str]:
        """What is broken for good in this process, one sentence each. Empty means healthy."""

    async def close(self) -> None:
        """Fail whoever waits and release everything."""
