"""What captions say."""

from __future__ import annotations

import numpy as np
import pytest

from training.experts.scenes import Seen, make_scene
from training.experts.scenes.captions import captions, relation
from training.experts.scenes.sheet import class_colours, contact_sheet

pytestmark = pytest.mark.torch


def _seen(name: str, looks: str = "", left: int = 0, depth: float = 4.0, pixels: int = 100) -> Seen:
    return Seen(name, looks, (left, 10, left + 10, 20), depth, pixels)


def test_articles_fit_what_follows() -> None:
    assert _seen("ball", "orange").called == "an orange ball"
    assert _seen("ball", "red").called == "a red ball"
    assert _seen("tree").called == "a tree"


@pytest.mark.parametrize(
    ("left", "depth", "words"),
    [
        (0, 2.0, "in front of"),
        (0, 8.0, "behind"),
        (0, 4.0, "to the left of"),
        (80, 4.0, "to the right of"),
        (38, 4.0, "beside"),
    ],
)
def test_relations_follow_depth_first_and_sides_then(left: int, depth: float, words: str) -> None:
    assert relation(_seen("ball", left=left, depth=depth), _seen("box", left=40)) == words


def test_the_classes_are_counted() -> None:
    seen = [_seen("box"), _seen("box"), _seen("bench"), _seen("bench"), _seen("mug")]
    assert "two boxes, two benches and a mug" in captions(seen, "", np.random.default_rng(0))


def test_objects_and_place_are_in_a_caption() -> None:
    made = captions([_seen("ball", "red"), _seen("box", "wooden")], "on grass", np.random.default_rng(0))
    assert made[0] == "a red ball and a wooden box on grass"
    assert len(made) == len(set(made)) == 4


def test_objects_that_are_called_the_same_are_named_once_and_counted() -> None:
    made = captions([_seen("tree"), _seen("tree")], "on grass", np.random.default_rng(0))
    assert made[:2] == ("a tree on grass", "two trees")


def test_scenes_where_nothing_can_be_seen_have_a_caption_too() -> None:
    assert captions([], "on grass", np.random.default_rng(0)) == ("an empty place on grass",)
    assert captions([], "", np.random.default_rng(0))


@pytest.mark.parametrize("seed", range(20))
def test_captions_name_only_what_is_in_the_picture(seed: int) -> None:
    scene = make_scene(seed, 48)
    names = {each.name for each in scene.objects}
    others = {"ball", "snowman", "rocket", "candle", "mushroom", "pyramid"} - names
    for caption in scene.captions:
        assert not others & set(caption.replace(",", "").split())


def test_a_contact_sheet_holds_four_pictures_of_each_scene() -> None:
    scenes = [make_scene(seed, 32, np.zeros((32, 32, 3), np.uint8) if seed == 2 else None) for seed in range(3)]
    assert contact_sheet(scenes, columns=2).shape == (2 * 34, 8 * 34, 3)
    assert len({tuple(colour) for colour in class_colours(20).tolist()}) == 20
