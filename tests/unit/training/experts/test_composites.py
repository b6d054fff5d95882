"""Composites of drawings and photographs."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from training.data.rows import DataError, Row, make_row
from training.data.sources import read_rows
from training.experts import composites
from training.experts.__main__ import app
from training.experts.composites import (
    CLASSES,
    MOST_DRAWINGS,
    CompositeJob,
    Cupboard,
    caption,
    compose,
    draw_jobs,
    visible_boxes,
    write_composites,
)
from training.experts.drawings import CATEGORIES, Drawing
from training.experts.errors import ExpertError
from training.experts.labels.store import LabelStore
from training.experts.scene_source import Photographs

pytestmark = pytest.mark.torch

SIZE = 48


def encoded(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def disc(category: str, colour: tuple[int, int, int], *, test: bool = False, alpha: int = 255) -> Drawing:
    """A disc of 32 pixels, its corners see-through and white."""
    rows, columns = np.mgrid[:32, :32] - 15.5
    pixels = np.full((32, 32, 4), 255, np.uint8)
    pixels[..., 3] = 0
    pixels[rows**2 + columns**2 < 256] = (*colour, alpha)
    return Drawing(f"toys/{category}-{test}", category, test, encoded(pixels))


def photograph(seed: int) -> Row:
    """Grey, of one level."""
    image = encoded(np.full((30, 40, 3), 40 + seed, np.uint8))
    return make_row(Path("x"), image=image, captions=(), label=None, split="train", source="grey", extra={})


EVERY = [disc(name, (250, 10, 10), test=test) for name in CATEGORIES for test in (False, True)]


def job(*drawings: Drawing, seed: int = 0) -> CompositeJob:
    return CompositeJob(seed, photograph(0).image, "grey 0", drawings)


def test_the_map_follows_the_outline_of_the_drawing() -> None:
    made = compose(job(disc("bird", (250, 10, 10))), 96)
    red = made.image[..., 0] > 145
    np.testing.assert_array_equal(made.classes, made.instances * CLASSES.index("bird"))
    assert (red == (made.classes > 0)).mean() > 0.995
    assert 0.03 < red.mean() < 0.5


def test_what_is_see_through_shows_the_photograph_and_not_the_colour_beneath() -> None:
    made = compose(job(disc("bird", (10, 10, 10))), 96)
    assert made.image.max() <= 42


def test_a_faint_drawing_belongs_to_the_photograph() -> None:
    made = compose(job(disc("bird", (250, 10, 10), alpha=90)), 96)
    assert made.classes.max() == 0
    assert list(visible_boxes(made, [disc("bird", (0, 0, 0))])) == []


def test_the_nearer_drawing_hides_the_farther_one_and_boxes_are_around_what_is_seen() -> None:
    for seed in range(12):
        drawings = (disc("bird", (250, 10, 10)), disc("fruit", (10, 250, 10)), disc("hand", (10, 10, 250)))
        made = compose(job(*drawings, seed=seed), 96)
        for name, x0, y0, x1, y1 in visible_boxes(made, drawings):
            seen = made.classes == CLASSES.index(name)
            rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
            assert (x0, y0, x1, y1) == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        inside = made.classes == CLASSES.index("hand")
        assert (made.image[inside].argmax(axis=1) == 2).mean() > 0.97


def test_the_same_job_makes_the_same_bytes_and_another_seed_another_picture() -> None:
    one, same, other = (compose(job(*EVERY[:3], seed=seed), SIZE) for seed in (4, 4, 5))
    np.testing.assert_array_equal(one.image, same.image)
    assert (one.image != other.image).any()


def test_captions_name_every_category_once() -> None:
    assert caption(["bird", "insect", "bird", "hand"]) == "a bird, an insect and a hand on a photo"
    assert caption(["insect"]) == "an insect on a photo"
    assert caption([]) == "a photo"


def test_categories_come_about_equally_often_however_many_drawings_they_have() -> None:
    many = [replace(EVERY[0], name=str(i)) for i in range(50)]
    jobs = draw_jobs([*EVERY, *many], [photograph(0), photograph(1)], range(400))
    counts = [sum(each.category == name for one in jobs for each in one.drawings) for name in CATEGORIES]
    assert min(counts) > 0.5 * max(counts)
    assert {len(one.drawings) for one in jobs} == set(range(1, MOST_DRAWINGS + 1))
    assert all(len({each.category for each in one.drawings}) == len(one.drawings) for one in jobs)


@pytest.fixture
def cupboard(monkeypatch: pytest.MonkeyPatch) -> Cupboard:
    """A disc of every category on each side."""
    monkeypatch.setattr(composites, "read_drawings", lambda _data, _packages: EVERY)
    return Cupboard(Path("built"), Path("packages"))


def _write(small_data: Path, out: Path, name: str, cupboard: Cupboard, *, test: bool = False, seed: int = 0) -> Path:
    behind = Photographs([small_data], ("things",))
    return write_composites(out, name, count=6, seed=seed, cupboard=cupboard, photographs=behind, size=SIZE, test=test)


def test_a_source_of_composites_is_read_like_any_other_and_has_exact_maps(
    small_data: Path, tmp_path: Path, cupboard: Cupboard
) -> None:
    path = _write(small_data, tmp_path, "pasted", cupboard, test=True)
    rows = list(read_rows(tmp_path, ["pasted"]))
    store = LabelStore(tmp_path / "labels" / "pasted" / "exact-classes")
    maps = store.maps([row.digest for row in rows])
    assert len(rows) == 6
    assert all(row.test for row in rows)
    assert store.description.identity.classes == CLASSES
    assert maps.shape == (6, SIZE, SIZE)
    extras = [json.loads(each) for each in pq.read_table(path, columns=["extra"]).column(0).to_pylist()]
    for extra, found in zip(extras, maps, strict=True):
        assert extra["size"] == SIZE
        assert all(name.endswith("-True") for name in extra["drawings"])
        for name, x0, y0, x1, y1 in extra["boxes"]:
            assert (found[y0:y1, x0:x1] == CLASSES.index(name)).any()


def test_both_sides_of_the_split_share_no_drawing(small_data: Path, tmp_path: Path, cupboard: Cupboard) -> None:
    used = []
    for name, test in (("probe", False), ("test", True)):
        path = _write(small_data, tmp_path, name, cupboard, test=test)
        extras = [json.loads(each) for each in pq.read_table(path, columns=["extra"]).column(0).to_pylist()]
        used.append({drawing for extra in extras for drawing in extra["drawings"]})
    assert not used[0] & used[1]


def test_equal_options_leave_a_source_alone_and_others_are_refused(
    small_data: Path, tmp_path: Path, cupboard: Cupboard
) -> None:
    before = _write(small_data, tmp_path, "pasted", cupboard).read_bytes()
    assert _write(small_data, tmp_path, "pasted", cupboard).read_bytes() == before
    with pytest.raises(ExpertError, match="was made with other settings"):
        _write(small_data, tmp_path, "pasted", cupboard, seed=9)


def test_numbers_that_make_no_sense_are_refused(small_data: Path, tmp_path: Path, cupboard: Cupboard) -> None:
    with pytest.raises(ExpertError, match="composites need a count of 1 or more"):
        _write(small_data, tmp_path, "pasted", cupboard, seed=-1)


def test_the_command_says_in_one_sentence_what_is_missing(small_data: Path, tmp_path: Path) -> None:
    options = ["--name", "pasted", "--count", "2", "--seed", "0", "--backgrounds", "things", "--out", str(tmp_path)]
    result = CliRunner().invoke(
        app, ["composites", *options, "--data", str(small_data), "--drawings", str(tmp_path / "nothing")]
    )
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {tmp_path / 'nothing' / 'emoji.parquet'}: no such file; build it with")


def test_no_photograph_on_a_side_is_said(tmp_path: Path, small_data: Path, cupboard: Cupboard) -> None:
    with pytest.raises(DataError):
        write_composites(
            tmp_path, "x", count=1, seed=0, cupboard=cupboard, photographs=Photographs([small_data], ("nowhere",))
        )
