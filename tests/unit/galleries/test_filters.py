"""What a filter may say, what it is compiled to, and what an item's fields may hold."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from service.errors import InvalidFilterError, InvalidItemError
from service.galleries.filters import MAX_CONDITIONS, MAX_VALUES, check_fields, compile_filter, quoted
from service.policies import FieldType

FIELDS: Mapping[str, FieldType] = {"source": "string", "year": "integer", "rating": "number", "reviewed": "boolean"}
FULL = {"source": "web", "year": 2020, "rating": 0.5, "reviewed": True}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"year": 2020}, "(field_year == 2020)"),
        ({"year": -1}, "(field_year == -1)"),
        ({"rating": 2}, "(field_rating == 2.0)"),
        ({"rating": -0.0}, "(field_rating == 0.0)"),
        ({"reviewed": True}, "(field_reviewed == true)"),
        ({"source": "web"}, '(field_source == "web")'),
        ({"source": None}, "(field_source is null)"),
        ({"source": {"not": None}}, "(field_source is not null)"),
        ({"source": {"not": "web"}}, '((field_source != "web") or field_source is null)'),
        ({"year": [1, 2, 1]}, "(field_year in [1, 2])"),
        ({"year": {"in": [1]}}, "(field_year == 1)"),
        ({"year": [1, None]}, "(field_year == 1 or field_year is null)"),
        ({"year": {"not": [1, 2]}}, "((field_year not in [1, 2]) or field_year is null)"),
        ({"year": {"not": [1, None]}}, "(field_year != 1 and field_year is not null)"),
        ({"reviewed": [True, False]}, "(field_reviewed == true or field_reviewed == false)"),
        ({"year": {"gte": 1, "lt": 9}}, "field_year >= 1 and field_year < 9"),
        ({"source": {"gt": "a"}, "year": 3}, 'field_source > "a" and (field_year == 3)'),
    ],
)
def test_a_filter_becomes_an_expression_over_columns(given: Mapping[str, object], expected: str) -> None:
    assert compile_filter(given, FIELDS) == expected


@pytest.mark.parametrize("name", ["in", "not", "id", "committee", "null", "true", "like"])
def test_a_field_may_be_called_like_a_keyword_or_a_column(name: str) -> None:
    assert compile_filter({name: 1}, {name: "integer"}) == f"(field_{name} == 1)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('" or true or "', r'"\" or true or \""'),
        ("\\", r'"\\"'),
        ('\\"', r'"\\\""'),
        ("a\nb\rc", r'"a\nb\rc"'),
        ("%_'é🐈", '"%_\'é🐈"'),
    ],
)
def test_a_string_cannot_end_its_literal(text: str, expected: str) -> None:
    assert quoted(text) == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "empty filter"),
        ({"colour": 1}, "There is no field 'colour' in this gallery. It has: source (string), year (integer)"),
        ({"year": "2020"}, 'Field year takes a whole number, this is the string "2020"'),
        ({"year": 2020.0}, "Field year takes a whole number, this is a number"),
        ({"year": True}, "Field year takes a whole number, this is true"),
        ({"year": 2**63}, "Field year takes whole numbers from"),
        ({"year": -(2**63)}, "Field year takes whole numbers from"),
        ({"rating": True}, "Field rating takes a number, this is true"),
        ({"rating": float("nan")}, "Field rating takes finite numbers"),
        ({"rating": [1, float("inf")]}, "Field rating takes finite numbers"),
        ({"rating": 10**400}, "Field rating takes numbers of double precision"),
        ({"reviewed": 1}, "Field reviewed takes true or false, this is a whole number"),
        ({"reviewed": {"gt": False}}, "Field reviewed is a boolean"),
        ({"source": 5}, "Field source takes a string"),
        ({"source": "\ud800"}, "half of a surrogate pair"),
        ({"source": "é" * 40_000}, "at most 65535 bytes"),
        ({"source": []}, "empty list"),
        ({"source": {}}, "empty object"),
        ({"source": [["web"]]}, "Field source takes a string, this is a list"),
        ({"source": [{"not": "web"}]}, "Field source takes a string, this is an object"),
        ({"source": {"like": "w%"}}, "no operator 'like', only gt, gte, lt, lte, in, not"),
        ({"source": {"in": "web"}}, "in takes a list"),
        ({"source": {"gt": None}}, "gt takes a value"),
        ({"year": {"gt": [1]}}, "Field year takes a whole number, this is a list"),
        ({"year": list(range(MAX_VALUES + 1))}, f"lists {MAX_VALUES + 1} values"),
    ],
)
def test_a_filter_that_cannot_be_is_refused_with_its_field_and_the_fix(given: Mapping[str, object], said: str) -> None:
    with pytest.raises(InvalidFilterError) as refused:
        compile_filter(given, FIELDS)
    assert said in refused.value.message
    assert refused.value.param == "filter"
    assert len(refused.value.message) < 400


def test_a_gallery_without_fields_says_that_it_has_none() -> None:
    with pytest.raises(InvalidFilterError, match="It has none"):
        compile_filter({"year": 1}, {})


def test_conditions_are_counted_over_all_fields() -> None:
    fields: dict[str, FieldType] = {f"f{index}": "integer" for index in range(MAX_CONDITIONS)}
    asked: dict[str, object] = dict.fromkeys(fields, 1)
    assert compile_filter(asked, fields).count("==") == MAX_CONDITIONS
    with pytest.raises(InvalidFilterError, match=f"at most {MAX_CONDITIONS} conditions, this one 65"):
        compile_filter(asked | {"f0": {"gt": 1, "lt": 5}}, fields)


def test_what_an_item_does_not_say_is_none() -> None:
    assert check_fields({}, FIELDS, 10) == dict.fromkeys(FIELDS)
    assert check_fields(FULL, FIELDS, 10) == FULL
    assert check_fields({"year": None}, FIELDS, 10)["year"] is None


def test_a_number_is_kept_as_a_float_and_zero_has_no_sign() -> None:
    kept = check_fields({"rating": 3}, FIELDS, 10)["rating"]
    assert (kept, type(kept)) == (3.0, float)
    assert str(check_fields({"rating": -0.0}, FIELDS, 10)["rating"]) == "0.0"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"colour": 1}, "There is no field 'colour'"),
        ({"source": "x" * 11}, "Field source takes at most 10 characters, this value has 11"),
        ({"source": "\udfff"}, "half of a surrogate pair"),
        ({"source": ["web"]}, "Field source takes a string, this is a list"),
        ({"year": 1.5}, "Field year takes a whole number"),
        ({"year": False}, "Field year takes a whole number, this is false"),
        ({"rating": float("inf")}, "finite"),
        ({"reviewed": "yes"}, "Field reviewed takes true or false"),
    ],
)
def test_a_value_that_does_not_fit_its_field_is_refused(given: Mapping[str, object], said: str) -> None:
    with pytest.raises(InvalidItemError) as refused:
        check_fields(given, FIELDS, 10)
    assert said in refused.value.message
    assert refused.value.param == "fields"
