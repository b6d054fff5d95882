from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load, save

from service.pipeline.cascade.arrays import from_arrays, to_arrays
from service.pipeline.cascade.cascade import NEVER, Cascade, cheapest_first
from service.pipeline.cascade.router import Router


def routed() -> Cascade:
    rng = np.random.default_rng(0)
    router = Router(1, rng.standard_normal((8, 3, 7)).astype(np.float32), rng.uniform(0.5, 2.0, 8))
    return Cascade((1.0, 2.0, 4.0), "margin", ((1,), (0,), (2,)), (0.7, NEVER), (1.0, 0.9, 0.8), router)


CASCADES = {
    "in order": Cascade((1.0, 0.1, 4.0), "margin", ((1,), (0,), (2,)), (1 / 3, 0.5), (1.0, 0.9, 0.8)),
    "in groups": Cascade((1.0, 2.0, 4.0), "probability", ((1, 0), (2,)), (NEVER,), (1.0, 0.9)),
    "all at once": Cascade((1.0, 2.0), "probability", ((0, 1),), (), (1.0,)),
    "alone": cheapest_first((3.0,)),
}


@pytest.mark.parametrize("cascade", CASCADES.values(), ids=CASCADES.keys())
def test_a_cascade_survives_safetensors_to_the_last_bit(cascade: Cascade) -> None:
    assert from_arrays(load(save(to_arrays(cascade)))) == cascade


def test_a_router_survives_safetensors() -> None:
    before, after = routed(), from_arrays(load(save(to_arrays(routed()))))
    assert before.router is not None
    assert after.router is not None
    assert after.router.first == 1
    assert np.array_equal(after.router.weights, before.router.weights)
    assert np.array_equal(after.router.temperatures, before.router.temperatures)
    assert (after.stages, after.thresholds) == (before.stages, before.thresholds)


@pytest.mark.parametrize("missing", sorted(to_arrays(routed()).keys() - {"router_first"}))
def test_a_missing_array_is_a_value_error(missing: str) -> None:
    arrays = to_arrays(routed())
    del arrays[missing]
    with pytest.raises(ValueError, match="no cascade"):
        from_arrays(arrays)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("order", np.array([0, 1, 1])),
        ("stage_sizes", np.array([1, 2])),
        ("thresholds", np.array([np.nan, 0.5])),
        ("temperatures", np.array([1.0, 1.0, -1.0])),
        ("exit_score", np.array([2])),
        ("exit_score", np.array([], dtype=np.int64)),
        ("router_first", np.array([5])),
        ("router_weights", np.zeros((8, 3, 9), dtype=np.float32)),
    ],
)
def test_arrays_that_make_no_cascade_are_a_value_error(name: str, value: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        from_arrays({**to_arrays(routed()), name: value})
