"""What the real sources promise before anything is fetched."""

from __future__ import annotations

import re

import pytest

from training.data.builders.catalogue import SOURCES, choose
from training.data.builders.pictures import Source
from training.data.rows import DataError
from training.data.splits import RESERVED_SOURCES

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("source", SOURCES.values(), ids=lambda source: source.name)
def test_a_source_names_licence_attribution_and_pinned_packages(source: Source) -> None:
    assert source.licence
    assert source.attribution
    assert source.packages
    for package in source.packages:
        assert re.fullmatch(r"[0-9a-f]{64}", package.sha256)
        assert re.search(r"\d", package.version)


def test_one_package_is_pinned_once() -> None:
    packages = {package for source in SOURCES.values() for package in source.packages}
    assert len({package.name for package in packages}) == len(packages)
    assert len({package.sha256 for package in packages}) == len(packages)


def test_drawings_that_no_tower_may_see_are_reserved() -> None:
    assert {"openmoji", "tux_paint", "flash_cards", "mnist"} <= RESERVED_SOURCES
    assert not {"emoji", "clip_art", "fashion_mnist", "digits", "flags"} & RESERVED_SOURCES


def test_every_withheld_concept_belongs_to_a_source_of_the_same_pool() -> None:
    for source in SOURCES.values():
        assert all(SOURCES[name].pool == source.pool for name in source.withholds_from)


def test_sources_come_in_the_catalogues_order_whatever_the_order_of_names() -> None:
    assert [source.name for source in choose(["openmoji", "emoji"])] == ["emoji", "openmoji"]
    assert choose([]) == list(SOURCES.values())


def test_an_unknown_source_is_named_with_those_that_exist() -> None:
    with pytest.raises(DataError, match="unknown source emojis: choose among fashion_mnist, emoji"):
        choose(["emoji", "emojis"])
