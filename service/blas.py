"""Keeps numpy's matrix products in the thread that asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """One thread for every matrix product of the process meanwhile.

    By itself OpenBLAS spreads a product over every core: a job would take those that requests are served on, and the
    small products of each request would wake threads beside ONNX Runtime's. The number of threads can change the last
    bits of a product, so the gateway sets it for as long as it serves, and not while jobs run: no answer may depend on
    whether a job is running. A fit sets it as well: it gives the same controller inside the gateway and outside.
    """
    with threadpool_limits(limits=1, user_api="blas"):
        yield
