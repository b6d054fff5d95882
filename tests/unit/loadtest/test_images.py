"""The JPEGs that go over the wire: real, of a photograph's size, all different, the same next time."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loadtest.images import STAMP_BYTES, START_OF_IMAGE, make_jpegs, read_samples, stamp

SAMPLES = Path("service/playground/samples")


@pytest.fixture(scope="module")
def jpegs() -> list[bytes]:
    return make_jpegs(read_samples(SAMPLES), 6)


def test_images_have_the_size_of_a_photograph_in_pixels_and_bytes(jpegs: list[bytes]) -> None:
    for jpeg in jpegs:
        with Image.open(io.BytesIO(jpeg)) as picture:
            assert (picture.format, picture.size, picture.mode) == ("JPEG", (500, 375), "RGB")
        assert 30_000 <= len(jpeg) <= 60_000


def test_images_are_distinct_and_the_same_again(jpegs: list[bytes]) -> None:
    assert len(set(jpegs)) == len(jpegs)
    assert make_jpegs(read_samples(SAMPLES), 6) == jpegs
    assert make_jpegs(read_samples(SAMPLES), 2, seed=1) != jpegs[:2]


def test_more_images_begin_with_the_same_ones(jpegs: list[bytes]) -> None:
    assert make_jpegs(read_samples(SAMPLES), 2) == jpegs[:2]


def test_a_folder_without_photographs_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no photographs"):
        read_samples(tmp_path)


def test_a_stamp_changes_the_digest_and_not_the_pixels(jpegs: list[bytes]) -> None:
    rest = jpegs[0][len(START_OF_IMAGE) :]
    stamped = [stamp(number, "ab12") + rest for number in (0, 1, 99_999_999)]
    assert all(len(each) == len(rest) + STAMP_BYTES for each in stamped)
    assert len({hashlib.sha256(each).digest() for each in stamped}) == 3
    pixels = [np.asarray(Image.open(io.BytesIO(each))) for each in [jpegs[0], *stamped]]
    for other in pixels[1:]:
        np.testing.assert_array_equal(pixels[0], other)
