"""What the gradient is computed of, beside its parity with torch's (tests/parity/test_controller_gradient.py)."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from service.pipeline.controller.gradient import row_products

SIGNALLING_NAN = 0x7F923456
DEPTH = 4096
"""Words of the stack that are overwritten."""


class Garbage(ctypes.Structure):
    _fields_ = (("words", ctypes.c_uint32 * DEPTH),)


def leave_on_the_stack(word: int) -> None:
    """A structure passed by value is copied to where the next call's locals will lie."""
    ctypes.CDLL(None).getpid(Garbage((ctypes.c_uint32 * DEPTH)(*[word] * DEPTH)))


@pytest.mark.parametrize("backbones", range(1, 9))
@pytest.mark.parametrize("classes", range(2, 18))
def test_each_row_is_multiplied_with_its_items_vector(backbones: int, classes: int) -> None:
    """Whatever lies in memory: five classes made OpenBLAS's `matmul` warn of stale lanes."""
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((1, backbones, classes), dtype=np.float32)
    vectors = generator.standard_normal((1, classes), dtype=np.float32)
    leave_on_the_stack(SIGNALLING_NAN)
    found = row_products(rows, vectors)
    assert found.dtype == np.float32
    np.testing.assert_allclose(
        found[0], rows[0].astype(np.float64) @ vectors[0].astype(np.float64), rtol=1e-5, atol=1e-5
    )
