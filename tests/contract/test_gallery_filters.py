"""A filter means in Milvus what it says: Lite's answer against one that is worked out in Python."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.galleries.base import FieldValue, GallerySpec
from service.galleries.filters import MAX_CONDITIONS, MAX_INTEGER, MAX_VALUES, check_fields, compile_filter
from service.galleries.milvus import MilvusGalleries
from service.galleries.milvus.upkeep import FlushRules
from tests.support.gallery_store import FIELDS, gallery, item, soon, vectors

T = TypeVar("T")

STRINGS = [
    "",
    "web",
    "Web",
    "a b",
    '" or 1 == 1 or "',
    "\\",
    "\\n",
    "\n",
    "\r",
    "\t",
    "\x00",
    "100%",
    "_",
    "é",
    "e\u0301",
    "日本",
    "🐈",
    "\uffff",
]
INTEGERS = [0, 1, -1, 7, 2**53 + 1, MAX_INTEGER, -MAX_INTEGER]
NUMBERS = [0.0, 1.0, -1.5, 0.1, 1e-300, -1e300, 1e16, 12345678901234567890.0]
BOOLEANS = [True, False]
POOLS: Mapping[str, list[Any]] = {"source": STRINGS, "year": INTEGERS, "rating": NUMBERS, "reviewed": BOOLEANS}
ORDER = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}
DRAWN = {
    "source": st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    "year": st.integers(-MAX_INTEGER, MAX_INTEGER),
    "rating": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**60), 2**60),
    "reviewed": st.booleans(),
}
SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass(frozen=True)
class Kept:
    """A gallery of which one half is in files and one in memory, and what is in it."""

    runner: asyncio.Runner
    store: MilvusGalleries
    spec: GallerySpec
    items: Mapping[str, Mapping[str, FieldValue]]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def matching(self, where: Mapping[str, object]) -> set[str]:
        expression = compile_filter(where, FIELDS)
        page = self.run(self.store.items(self.spec, after=None, limit=1_000, where=expression, deadline=soon()))
        return {each.id for each in page.items}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    values: list[dict[str, Any]] = [dict.fromkeys(FIELDS)]
    for index, reviewed in product(range(len(STRINGS)), [True, False, None]):
        rotated = {name: pool[index % len(pool)] for name, pool in POOLS.items()} | {"reviewed": reviewed}
        values += [rotated, rotated | {list(FIELDS)[index % 3]: None}]
    path = tmp_path_factory.mktemp("filters") / "galleries.db"
    store = MilvusGalleries(str(path), None, rules=FlushRules(items=len(values) // 2, few=10_000))
    items = {f"{index:03}": each for index, each in enumerate(values)}

    async def fill() -> GallerySpec:
        await store.start()
        spec = await store.create(gallery(), soon())
        for (name, each), row in zip(items.items(), vectors(len(items)), strict=True):
            await store.upsert(spec, [item(name, row, fields=each)], soon())
        return spec

    with asyncio.Runner() as runner:
        yield Kept(runner, store, runner.run(fill()), items)
        runner.run(store.close())


def holds(asked: object, value: FieldValue) -> bool:
    """What the documentation of filters says."""
    if isinstance(asked, Mapping):
        return all(holds_as(named, operand, value) for named, operand in asked.items())
    if isinstance(asked, list):
        return value in asked
    return value == asked


def holds_as(named: str, operand: Any, value: Any) -> bool:
    if named == "not":
        return not holds(operand, value)
    if named == "in":
        return holds(operand, value)
    if value is None:
        return False
    return bool(ORDER[named](value, operand))


def value_of(field: str) -> st.SearchStrategy[Any]:
    return st.sampled_from(POOLS[field]) | DRAWN[field]


def condition_on(field: str) -> st.SearchStrategy[Any]:
    value = value_of(field)
    values = st.lists(value | st.none(), min_size=1, max_size=6)
    choices = value | st.none() | values
    operators: dict[str, st.SearchStrategy[Any]] = {"in": values, "not": choices}
    if field != "reviewed":
        operators |= dict.fromkeys(("gt", "gte", "lt", "lte"), value)
    return choices | st.fixed_dictionaries({}, optional=operators).filter(bool)


FILTERS = st.fixed_dictionaries({}, optional={field: condition_on(field) for field in FIELDS}).filter(bool)


@SETTINGS
@given(where=FILTERS)
def test_a_filter_finds_what_it_says(kept: Kept, where: Mapping[str, object]) -> None:
    expected = {
        name
        for name, values in kept.items.items()
        if all(holds(asked, values[field]) for field, asked in where.items())
    }
    assert kept.matching(where) == expected


@SETTINGS
@given(where=FILTERS)
def test_not_finds_the_rest(kept: Kept, where: Mapping[str, Any]) -> None:
    for field, asked in where.items():
        if not isinstance(asked, Mapping):
            assert kept.matching({field: {"not": asked}}) == set(kept.items) - kept.matching({field: asked})


@SETTINGS
@given(values=st.fixed_dictionaries({field: DRAWN[field] for field in FIELDS}))
def test_any_value_is_found_by_itself(kept: Kept, values: Mapping[str, Any]) -> None:
    checked = check_fields(values, FIELDS, 100)
    kept.run(kept.store.upsert(kept.spec, [item("own", vectors(1)[0], fields=checked)], soon()))
    try:
        for field, value in values.items():
            assert "own" in kept.matching({field: value})
            assert "own" in kept.matching({field: [value, POOLS[field][0]]})
            assert "own" not in kept.matching({field: {"not": value}})
        found = kept.run(kept.store.look_up(kept.spec, ["own"], soon()))
        assert found["own"].fields == checked
    finally:
        kept.run(kept.store.delete(kept.spec, soon(), ids=["own"]))


def test_the_largest_filter_is_answered(kept: Kept) -> None:
    values = [f"value {index}" for index in range(MAX_VALUES - 1)]
    assert kept.matching({"source": [*values, "web"]}) == kept.matching({"source": "web"})
    ranges = {"gte": -MAX_INTEGER, "lte": MAX_INTEGER, "not": None, "in": INTEGERS}
    assert len(ranges) * len(FIELDS) < MAX_CONDITIONS
    assert kept.matching({"year": ranges}) == kept.matching({"year": {"not": None}})
