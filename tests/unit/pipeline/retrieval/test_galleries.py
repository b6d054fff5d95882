from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from service.errors import GalleryStaleError, InvalidItemError
from service.galleries.base import GalleryMember
from service.pipeline.retrieval.galleries import (
    as_kept,
    default_prefix,
    digest_of_embedding,
    members_served,
    read_embedding,
    stale_reason,
)
from service.repository import Zoo
from tests.support.galleries import spec_of


def test_a_gallery_of_the_zoo_of_today_is_served_in_its_own_order(fake_zoo: Zoo) -> None:
    spec = spec_of(fake_zoo)
    turned = replace(spec, members=spec.members[::-1])
    assert [each.name for each in members_served(turned, fake_zoo)] == [each.name for each in turned.members]


@pytest.mark.parametrize(
    "change",
    [
        lambda member: replace(member, image="another"),
        lambda member: replace(member, text="another"),
        lambda member: replace(member, geometry="another"),
    ],
    ids=["image", "text", "geometry"],
)
def test_other_towers_make_a_gallery_stale(fake_zoo: Zoo, change: Callable[[GalleryMember], GalleryMember]) -> None:
    spec = spec_of(fake_zoo)
    first = change(spec.members[0])
    with pytest.raises(GalleryStaleError, match=r'other towers .* of "small".*quorum index pictures FOLDER --rebuild'):
        members_served(replace(spec, members=(first, *spec.members[1:])), fake_zoo)


def test_a_backbone_that_is_gone_makes_a_gallery_stale_and_a_new_one_does_not(fake_zoo: Zoo) -> None:
    spec = spec_of(fake_zoo)
    assert stale_reason(spec, Zoo(fake_zoo.backbones[:1])) is not None
    assert stale_reason(replace(spec, members=spec.members[:1]), fake_zoo) is None


def test_the_default_prefix_costs_at_most_half(fake_zoo: Zoo) -> None:
    assert default_prefix(fake_zoo.backbones) == ("small",)
    assert default_prefix(fake_zoo.backbones[1:]) == ("large",)


def test_numbers_and_base64_are_the_same_embedding(fake_zoo: Zoo) -> None:
    spec = spec_of(fake_zoo)
    numbers = np.random.default_rng(0).standard_normal(spec.width).astype(np.float32)
    encoded = base64.b64encode(numbers.astype("<f4").tobytes()).decode()
    one, other = read_embedding(numbers.tolist(), spec, "x"), read_embedding(encoded, spec, "x")
    assert np.array_equal(one, other)
    assert digest_of_embedding(one) == digest_of_embedding(other)


def test_cosine_galleries_keep_unit_parts_and_ip_galleries_keep_what_came(fake_zoo: Zoo) -> None:
    spec = spec_of(fake_zoo)
    sent = np.arange(1, spec.width + 1, dtype=np.float32)
    kept = as_kept(sent, spec, "x")
    assert [np.linalg.norm(kept[place]) for place in spec.parts.values()] == pytest.approx([1, 1])
    assert np.array_equal(as_kept(sent, replace(spec, metric="ip"), "x"), sent)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([1.0, 2.0], "2 numbers, this gallery's have 20: those of small, large side by side"),
        ("no base64!", "neither a list of numbers nor base64"),
        (base64.b64encode(b"abc").decode(), "not of float32 numbers"),
        ([1e39] * 20, "not within"),
        ([float("nan")] * 20, "not within"),
        ([1.1e6] * 20, "not within"),
    ],
)
def test_an_embedding_that_cannot_be_one_is_refused_in_words(fake_zoo: Zoo, given: str, sentence: str) -> None:
    with pytest.raises(InvalidItemError, match=sentence) as caught:
        read_embedding(given, spec_of(fake_zoo), "items[3].embedding")
    assert caught.value.param == "items[3].embedding"


def test_a_part_of_zeros_has_no_direction(fake_zoo: Zoo) -> None:
    spec = spec_of(fake_zoo)
    sent = np.ones(spec.width, dtype=np.float32)
    sent[spec.parts["large"]] = 0
    with pytest.raises(InvalidItemError, match="part of large is all zeros"):
        as_kept(sent, spec, "x")
