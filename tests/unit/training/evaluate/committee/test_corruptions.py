"""Pictures made worse."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tests.unit.training.evaluate.committee.made_up_pools import row
from training.data.rows import Row
from training.evaluate.committee.corruptions import CANVAS_PX, CLEAN, CORRUPTIONS, STRENGTHS, VARIANTS, corrupted


def pixels(changed: Row) -> np.ndarray:
    with Image.open(io.BytesIO(changed.image)) as read:
        return np.asarray(read).astype(np.float64)


def smooth_row() -> Row:
    """A photograph-like picture: a bright square on a slope of grey."""
    slope = np.linspace(40, 160, 48, dtype=np.uint8)
    image = np.repeat(np.tile(slope, (48, 1))[..., None], 3, axis=2)
    image[14:30, 18:34] = (220, 80, 40)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return Row(buffer.getvalue(), "a" * 64, (), "cat", "made_up", test=True)


def test_clean_is_the_picture_itself() -> None:
    original = row(1)
    assert np.array_equal(pixels(corrupted(original, CLEAN, 0)), pixels(original))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_more_strength_is_farther_from_the_picture(name: str) -> None:
    original = smooth_row()
    found = [np.abs(pixels(corrupted(original, name, k)) - pixels(original)).mean() for k in STRENGTHS]
    assert 0 < found[0] < found[1] < found[2]


@pytest.mark.parametrize(("name", "strength"), VARIANTS)
def test_the_same_picture_is_spoilt_in_the_same_way(name: str, strength: int) -> None:
    first, second = corrupted(row(1), name, strength), corrupted(row(1), name, strength)
    assert first.image == second.image
    assert first.digest == second.digest
    assert first.label == "cat"


def test_pictures_have_noise_of_their_own() -> None:
    first, second = smooth_row(), smooth_row()
    second = Row(second.image, "b" * 64, (), "cat", "made_up", test=True)
    assert corrupted(first, "noise", 2).image != corrupted(second, "noise", 2).image


def test_contrast_fades_and_blur_smooths() -> None:
    original = smooth_row()
    assert pixels(corrupted(original, "contrast", 3)).std() < 0.3 * pixels(original).std()
    steps = [np.abs(np.diff(pixels(each), axis=0)).max() for each in (original, corrupted(original, "blur", 3))]
    assert steps[1] < 0.6 * steps[0]


def test_large_pictures_come_down_to_the_canvas_and_small_ones_stay() -> None:
    assert pixels(corrupted(row(1, size=(300, 150)), "rotation", 1)).shape == (CANVAS_PX, 2 * CANVAS_PX, 3)
    assert pixels(corrupted(row(1, size=(30, 20)), "rotation", 1)).shape == (20, 30, 3)
    assert pixels(corrupted(row(1, size=(900, 65)), CLEAN, 0)).shape[0] == CANVAS_PX


def test_what_there_is_not_is_refused() -> None:
    with pytest.raises(KeyError):
        corrupted(row(1), "rust", 1)
