"""What galleries are called and how they are described in Milvus."""

from __future__ import annotations

import json
import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.galleries.milvus.definitions import PROPERTY, collection_of, gallery_of, properties_of, spec_of
from tests.support.gallery_store import gallery

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)


@given(NAMES | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_a_name_survives_its_collection(name: str) -> None:
    assert gallery_of(collection_of(name)) == name


@given(NAMES)
def test_a_collection_is_called_as_milvus_allows(name: str) -> None:
    collection = collection_of(name)
    assert re.fullmatch("[a-z_][a-z0-9_]*", collection)
    assert len(collection) <= 255


@given(NAMES, NAMES)
def test_two_names_never_share_a_collection_whatever_the_file_system_thinks_of_case(one: str, other: str) -> None:
    assert (collection_of(one).lower() == collection_of(other).lower()) == (one == other)


@pytest.mark.parametrize(
    "collection",
    ["pets", "quorum_", "quorum_Pets", "quorum_a_", "quorum_a_2", "quorum_a_6F", "quorum_a_61", "quorum__ff"],
)
def test_the_collections_of_others_are_none_of_ours(collection: str) -> None:
    assert gallery_of(collection) is None


def test_a_definition_survives_its_property() -> None:
    spec = gallery("Pets.1", widths={"größe": 3, 'quoted"': 1}, prefix=('quoted"',), fields={"in": "string"})
    properties = properties_of(spec)
    assert spec_of("quorum_x", properties) == spec
    assert json.loads(properties[PROPERTY])["format"] == 1


@pytest.mark.parametrize(
    "properties",
    [{}, {PROPERTY: "no JSON"}, {PROPERTY: "[]"}, {PROPERTY: '{"format": 2}'}, {PROPERTY: '{"format": 1}'}],
)
def test_a_definition_that_cannot_be_read_is_no_gallery(
    properties: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert spec_of("quorum_pets", properties) is None
    assert "quorum_pets" in caplog.text
