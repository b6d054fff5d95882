"""Typed fields on the command line and in files, and conditions on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from service.api.gallery_schemas import SearchRequest
from service.cli import conditions
from service.cli.item_fields import FieldError, about_nobody, checked, declared, from_text, known, read_rows
from service.galleries.filters import compile_filter
from service.policies import FieldType

TYPES: dict[str, FieldType] = {"year": "integer", "score": "number", "source": "string", "seen": "boolean"}


def test_fields_are_declared_by_name_and_type() -> None:
    assert declared(["year=integer", " source = string"]) == {"year": "integer", "source": "string"}


@pytest.mark.parametrize("text", ["year", "year=", "year=int", "Year=integer", "=string", "a-b=string", "1a=string"])
def test_what_declares_no_field_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"is no field\. One looks like year=integer"):
        declared([text])


def test_a_field_is_declared_once() -> None:
    with pytest.raises(typer.BadParameter, match="year is declared twice"):
        declared(["year=integer", "year=number"])


def test_values_of_a_csv_become_what_their_fields_take(tmp_path: Path) -> None:
    path = tmp_path / "fields.csv"
    path.write_text('\ufeffid,year,score,source,seen\r\na.jpg, 2024 ,1e-3,"web, mobile",Yes\r\nb.jpg,,,,0\r\n\r\n')
    rows = read_rows(path)
    rows.check_columns(TYPES, "shop")
    assert rows.of("a.jpg", TYPES) == {"year": 2024, "score": 0.001, "source": "web, mobile", "seen": True}
    assert rows.of("b.jpg", TYPES) == {"year": None, "score": None, "source": None, "seen": False}
    assert rows.of("c.jpg", TYPES) is None


def test_values_of_json_lines_have_types_already(tmp_path: Path) -> None:
    path = tmp_path / "fields.jsonl"
    path.write_text('{"id": "Ka\u0308se.jpg", "year": 2024, "score": 1}\n{"id": "b", "year": "2024"}\n')
    rows = read_rows(path)
    assert rows.of("Käse.jpg", TYPES) == {"year": 2024, "score": 1}
    with pytest.raises(FieldError, match="year takes a whole number, and '2024' is none"):
        rows.of("b", TYPES)


def test_a_column_that_is_no_field_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "fields.csv"
    path.write_text("id,yaer\na,1\n")
    with pytest.raises(typer.BadParameter, match='shop has no field "yaer": it has year, score, source, seen'):
        read_rows(path).check_columns(TYPES, "shop")
    with pytest.raises(typer.BadParameter, match="it has none"):
        read_rows(path).check_columns({}, "shop")


def test_rows_of_nobody_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "fields.csv"
    path.write_text("id,year\na,1\nb,2\n")
    assert about_nobody(read_rows(path), {"a", "b", "c"}) is None
    assert about_nobody(read_rows(path), {"b"}) == f'1 row of {path} of no item: "a".'


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("f.csv", b"name,year\n", 'no column "id"'),
        ("f.csv", b"id,a,a\n1,2,3\n", "one of them twice"),
        ("f.csv", b"", 'no column "id"'),
        ("f.csv", b"id,year\n", "there is nothing in"),
        ("f.csv", b"id,year\na,1,2\n", "line 2 has 3 columns, the first line 2"),
        ("f.csv", b"id,year\na,1\na,2\n", 'line 3: "a" was there before'),
        ("f.csv", b"id,year\n,1\n", 'line 2 has no "id"'),
        ("f.csv", b"id,year\n\xff,1\n", "is not a text file in UTF-8"),
        ("f.csv", b'id,year\n"a"b,1\n', "cannot be read as CSV"),
        ("f.jsonl", b'{"year": 1}\n', 'line 1 has no "id"'),
        ("f.jsonl", b'{"id": 1}\n', 'line 1 has no "id"'),
        ("f.jsonl", b"[]\n", "line 1 is no JSON object"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_its_line(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(typer.BadParameter, match=sentence):
        read_rows(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("year", True),
        ("year", 1.5),
        ("year", "1"),
        ("score", True),
        ("score", "1"),
        ("score", float("nan")),
        ("source", 1),
        ("source", ["web"]),
        ("seen", 1),
        ("seen", "true"),
    ],
)
def test_a_value_of_another_type_is_named(name: str, value: Any) -> None:
    with pytest.raises(FieldError, match=f"^{name} takes"):
        checked(name, value, TYPES[name])


@pytest.mark.parametrize(("name", "text"), [("year", "1.5"), ("score", "x"), ("score", "inf"), ("seen", "maybe")])
def test_a_text_that_stands_for_no_such_value_is_named(name: str, text: str) -> None:
    with pytest.raises(FieldError, match=f"^{name} takes"):
        from_text(name, text, TYPES[name])


def test_of_what_came_with_an_item_the_gallery_takes_what_it_has() -> None:
    assert known({"year": 1, "caption": "x", "seen": None}, TYPES) == {"year": 1, "seen": None}


@pytest.mark.parametrize(
    ("texts", "compiled"),
    [
        (["year>=2020", "year < 2025"], {"year": {"gte": 2020, "lt": 2025}}),
        (["source=web", "source=a=b"], {"source": {"in": ["web", "a=b"]}}),
        (["source!=web", "seen=true"], {"source": {"not": ["web"]}, "seen": {"in": [True]}}),
        (["score>-.5", "score<=1e3"], {"score": {"gt": -0.5, "lte": 1000.0}}),
        (["year="], {"year": {"in": [None]}}),
        (["year!="], {"year": {"not": [None]}}),
        ([], None),
    ],
)
def test_conditions_become_the_apis_filter(texts: list[str], compiled: Any) -> None:
    conditions.check(texts)
    found = conditions.compiled(texts, TYPES, "shop")
    assert found == compiled
    if found is not None:
        SearchRequest.model_validate({"queries": [{"text": "a"}], "filter": found})
        assert compile_filter(found, TYPES)


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["year"], "is no condition. One looks like"),
        (["year~1"], "is no condition"),
        (["=1"], "is no condition"),
        (["yaer=1"], 'shop has no field "yaer": it has year, score, source, seen'),
        (["year=x"], "year takes a whole number"),
        (["year>"], "one value after >"),
        (["year>1", "year>2"], "once for a field"),
    ],
)
def test_what_is_no_condition_is_refused(texts: list[str], sentence: str) -> None:
    with pytest.raises(typer.BadParameter, match=sentence):
        conditions.compiled(texts, TYPES, "shop")
