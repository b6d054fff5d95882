"""Near copies and what keeps them apart."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.unit.training.data.builders.toy import noise, picture, source
from training.data.builders.near_copies import THRESHOLD, nearest, thumbnails
from training.data.builders.pictures import Picture, Source
from training.data.builders.render import webp
from training.data.builders.separate import EQUAL, separate, shared_concepts, without_repeats

pytestmark = pytest.mark.torch


def drawn(shape: str, colour: tuple[int, int, int], side: int = 64) -> bytes:
    canvas = Image.new("RGB", (side, side), "white")
    box = (side // 8, side // 8, side * 7 // 8, side * 7 // 8)
    getattr(ImageDraw.Draw(canvas), shape)(box, fill=colour)
    return webp(canvas)


def likeness(first: bytes, second: bytes) -> float:
    rows = thumbnails([first, second])
    return float(rows[0] @ rows[1])


def test_a_re_encoded_or_enlarged_picture_is_a_near_copy() -> None:
    assert noise(1) != noise(1, speck=True)
    assert likeness(noise(1), noise(1, speck=True)) > THRESHOLD
    assert likeness(drawn("ellipse", (200, 0, 0)), drawn("ellipse", (200, 0, 0), side=128)) > THRESHOLD


def test_other_pictures_are_none() -> None:
    assert abs(likeness(noise(1), noise(2))) < 0.5


def test_white_around_small_drawings_does_not_make_them_alike() -> None:
    first, second = Image.new("RGB", (64, 64), "white"), Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(first).rectangle((8, 8, 16, 16), fill="black")
    ImageDraw.Draw(second).rectangle((44, 44, 52, 52), fill="black")
    assert likeness(webp(first), webp(second)) < 0.1


def test_one_shape_in_two_colours_is_no_near_copy() -> None:
    assert likeness(drawn("ellipse", (220, 0, 0)), drawn("ellipse", (0, 160, 0))) < THRESHOLD


def test_a_picture_of_one_grey_is_like_nothing() -> None:
    grey = webp(Image.new("RGB", (64, 64), (128, 128, 128)))
    assert likeness(grey, grey) == 0


def test_the_nearest_is_found_over_many_rows() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(5000, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    held = rows[[7, 4999]]
    best, where = nearest(rows, held)
    assert (int(where[7]), int(where[4999])) == (0, 1)
    assert best[[7, 4999]] == pytest.approx([1, 1], abs=1e-5)
    assert (best == (rows @ held.T).max(axis=1)).all()
    assert (nearest(rows[:3], held[:0])[0] == -1).all()


def apart(*members: tuple[Source, list[Picture]]) -> tuple[dict[str, list[str]], dict[str, Counter[str]]]:
    dropped = {one.name: Counter[str]() for one, _ in members}
    kept = separate({one.name: (one, pictures) for one, pictures in members}, dropped)
    return {name: [one.name for one in pictures] for name, pictures in kept.items()}, dropped


def test_a_train_row_like_a_test_row_of_any_source_goes_and_is_counted() -> None:
    a, b = source("a"), source("b")
    kept, dropped = apart(
        (a, [picture(1), picture(2), picture(3, test=True)]),
        (b, [picture(1, test=True, speck=True), picture(3, speck=True), picture(4)]),
    )
    assert kept == {"a": ["2.png", "3.png"], "b": ["1.png", "4.png"]}
    assert dropped == {
        "a": {"near copy of a held-out picture of b": 1},
        "b": {"near copy of a held-out picture of a": 1},
    }


def test_train_rows_may_be_alike() -> None:
    kept, _ = apart((source("a"), [picture(1), picture(1, speck=True)]), (source("b"), [picture(1)]))
    assert kept == {"a": ["1.png", "1.png"], "b": ["1.png"]}


def test_every_row_of_a_reserved_source_is_held_out_from_towers_and_keeps_its_own_train_rows() -> None:
    kept, dropped = apart(
        (source("a"), [picture(1), picture(2)]),
        (source("openmoji"), [picture(1, speck=True), picture(3), picture(3, test=True, speck=True)]),
        (source("tux_paint"), [picture(1)]),
    )
    assert kept == {"a": ["2.png"], "openmoji": ["1.png", "3.png"], "tux_paint": ["1.png"]}
    assert dropped["openmoji"] == {"near copy of a held-out picture of openmoji": 1}


def test_where_likeness_is_the_task_a_source_is_not_compared_with_itself() -> None:
    flags = source("flags", alike_within=True)
    kept, _ = apart((flags, [picture(1), picture(2), picture(1, test=True, speck=True)]), (source("a"), []))
    assert kept["flags"] == ["1.png", "2.png", "1.png"]
    kept, _ = apart((flags, [picture(1)]), (source("a"), [picture(1, test=True, speck=True)]))
    assert kept["flags"] == []


def test_of_equal_pictures_the_test_row_stays() -> None:
    dropped = Counter[str]()
    kept = without_repeats([picture(1), picture(2), picture(1, test=True), picture(2)], dropped)
    assert [(one.name, one.test) for one in kept] == [("2.png", False), ("1.png", True)]
    assert dropped == {EQUAL: 2}


def test_a_held_out_concept_in_a_train_row_is_found_in_the_sources_it_is_withheld_from() -> None:
    sources = {"emoji": source("emoji", withholds_from=("openmoji",)), "openmoji": source("openmoji")}
    pictures = {
        "emoji": [picture(1, test=True, concept="cat"), picture(2, concept="dog"), picture(3)],
        "openmoji": [picture(4, concept="cat"), picture(5, test=True, concept="dog")],
    }
    # OpenMoji's held-out dog may be seen in other styles; the unseen cat may be seen in none.
    assert shared_concepts(sources, pictures) == ["openmoji: cat"]
    pictures["emoji"].append(picture(6, concept="cat"))
    assert shared_concepts(sources, pictures) == ["emoji: cat", "openmoji: cat"]
