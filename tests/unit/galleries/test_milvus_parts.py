"""The choice of an index, rows of items, errors in our words, and the size of messages."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from service.errors import (
    GalleryFailedError,
    GalleryLoadingError,
    InternalError,
    InvalidFilterError,
    NotFoundError,
    PayloadTooLargeError,
    QuorumError,
    UnavailableError,
)
from service.galleries.milvus.calls import MESSAGE_BYTES, MESSAGE_ROWS, pieces
from service.galleries.milvus.failures import translated
from service.galleries.milvus.indexes import IndexPlan
from service.galleries.milvus.rows import row_bytes, row_of, widths_of
from tests.support.gallery_store import gallery, item

ROOT = Path(__file__).parents[3]


class StoreError(Exception):
    """As those of pymilvus and gRPC: `code` is a number, a status, or a method that gives one."""

    def __init__(self, code: Any) -> None:
        super().__init__("secret words of the store")
        self.code = code


def test_lite_searches_exactly_with_an_index_or_without() -> None:
    plan = IndexPlan.lite(index_from=10)
    assert plan.index_from == 10
    assert plan.built.exact
    assert plan.build_params()["index_type"] == "IVF_FLAT"
    assert plan.search_params(limit=10) == {"metric_type": "IP", "params": {}}


def test_a_server_looks_further_for_more_hits() -> None:
    plan = IndexPlan.server()
    assert not plan.built.exact
    assert plan.build_params() == {
        "index_type": "HNSW",
        "metric_type": "IP",
        "params": {"M": 32, "efConstruction": 200},
    }
    assert plan.search_params(limit=10)["params"] == {"ef": 256}
    assert plan.search_params(limit=1_000)["params"] == {"ef": 2_000}


def test_the_prefix_is_cut_out_in_the_gallerys_order() -> None:
    spec = gallery(widths={"a": 2, "b": 3, "c": 1}, prefix=("c", "a"), fields={"year": "integer"})
    row = row_of(spec, item("x", np.arange(6, dtype=np.float32), fields={}))
    assert row["prefix"].tolist() == [0.0, 1.0, 5.0]
    assert row["committee"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert widths_of(spec) == {"prefix": 3, "committee": 6}
    assert row_bytes(spec) == 36
    assert row["field_year"] is None


@pytest.mark.parametrize(("count", "bytes_each"), [(0, 1), (1, 1), (2_500, 1), (7, MESSAGE_BYTES // 3), (3, 10**12)])
def test_messages_hold_everything_once_and_are_small_enough(count: int, bytes_each: int) -> None:
    parts = [list(range(count))[piece] for piece in pieces(count, bytes_each)]
    assert [each for part in parts for each in part] == list(range(count))
    assert all(len(part) <= MESSAGE_ROWS for part in parts)
    assert all(len(part) == 1 or len(part) * bytes_each <= MESSAGE_BYTES for part in parts)


@pytest.mark.parametrize(
    ("code", "expected", "retry"),
    [
        (100, NotFoundError, False),
        (101, GalleryLoadingError, True),
        (8, UnavailableError, True),
        (2, UnavailableError, True),
        (SimpleNamespace(name="UNAVAILABLE"), UnavailableError, True),
        (lambda: SimpleNamespace(name="UNAVAILABLE"), UnavailableError, True),
        (SimpleNamespace(name="UNAUTHENTICATED"), UnavailableError, True),
        (SimpleNamespace(name="RESOURCE_EXHAUSTED"), PayloadTooLargeError, False),
        (1, InternalError, False),
        (None, InternalError, False),
    ],
)
def test_the_stores_errors_become_ours_without_their_words(code: Any, expected: type[QuorumError], retry: bool) -> None:
    with pytest.raises(expected) as raised, translated("searching"):
        raise StoreError(code)
    assert "secret" not in raised.value.message
    assert (raised.value.retry_after_s is not None) == retry


def test_only_what_the_store_said_itself_is_its_failure() -> None:
    class MilvusException(StoreError):  # noqa: N818  # as the library calls it
        pass

    class DataNotMatchException(MilvusException):
        pass

    for error, store in ((MilvusException(1), True), (MilvusException(6), False), (DataNotMatchException(1), False)):
        with pytest.raises(InternalError) as raised, translated("storing items"):
            raise error
        assert isinstance(raised.value, GalleryFailedError) == store


def test_what_is_unexpected_is_logged_and_what_is_ours_passes(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(InternalError), translated("searching"):
        raise StoreError(1)
    assert "while searching" in caplog.text
    assert "secret words of the store" in caplog.text
    ours = InvalidFilterError("ours")
    with pytest.raises(InvalidFilterError) as raised, translated("searching"):
        raise ours
    assert raised.value is ours


def test_the_library_is_not_imported_before_it_is_needed() -> None:
    check = (
        "import sys, asyncio, service.galleries.milvus as m; store = m.MilvusGalleries('http://localhost:1', None);"
        "asyncio.run(store.start()); sys.exit(bool({'pymilvus', 'milvus_lite', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0
