"""A cascade as named arrays and back: what travels as safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.pipeline.cascade.cascade import Cascade, ExitScore
from service.pipeline.cascade.router import Router

Array = NDArray[Any]
EXIT_SCORES: Final[tuple[ExitScore, ...]] = ("probability", "margin")
"""By the number that stands for them in a file: only ever append."""


def to_arrays(cascade: Cascade) -> dict[str, Array]:
    """All of a cascade. `order` lists backbones stage by stage, `stage_sizes` how many belong to each."""
    arrays: dict[str, Array] = {
        "gflops": np.array(cascade.gflops, dtype=np.float64),
        "exit_score": np.array([EXIT_SCORES.index(cascade.exit_score)], dtype=np.int64),
        "order": np.array([member for stage in cascade.stages for member in stage], dtype=np.int64),
        "stage_sizes": np.array([len(stage) for stage in cascade.stages], dtype=np.int64),
        "thresholds": np.array(cascade.thresholds, dtype=np.float64),
        "temperatures": np.array(cascade.temperatures, dtype=np.float64),
    }
    if cascade.router is not None:
        arrays["router_first"] = np.array([cascade.router.first], dtype=np.int64)
        arrays["router_weights"] = cascade.router.weights
        arrays["router_temperatures"] = cascade.router.temperatures
    return arrays


def from_arrays(arrays: Mapping[str, Array]) -> Cascade:
    """The cascade that `to_arrays` was given. Raises `ValueError` for arrays that are missing or make no cascade."""
    try:
        kind = EXIT_SCORES[int(arrays["exit_score"][0])]
        bounds = np.cumsum(arrays["stage_sizes"]).tolist()
        order = arrays["order"].tolist()
        return Cascade(
            gflops=tuple(map(float, arrays["gflops"])),
            exit_score=kind,
            stages=tuple(tuple(order[a:b]) for a, b in zip([0, *bounds[:-1]], bounds, strict=True)),
            thresholds=tuple(map(float, arrays["thresholds"])),
            temperatures=tuple(map(float, arrays["temperatures"])),
            router=_router(arrays) if "router_first" in arrays else None,
        )
    except (KeyError, IndexError) as error:
        raise ValueError(f"these arrays are no cascade: {error}") from error


def _router(arrays: Mapping[str, Array]) -> Router:
    first = int(arrays["router_first"][0])
    return Router(first, arrays["router_weights"], arrays["router_temperatures"])
