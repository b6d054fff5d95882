"""Drawings of categories, cut out along their alpha."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data.builders import clip_art, stamps
from training.data.builders.packages import Package
from training.data.builders.pictures import Dropped, Folders, Picture, Source
from training.data.builders.write import write_source
from training.data.rows import DataError
from training.experts import drawings
from training.experts.drawings import CATEGORIES, SIDE, category_of, read_drawings, usable
from training.experts.errors import ExpertError
from training.experts.scenes import CLASSES as SCENE_CLASSES

DISC = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 40"><circle cx="12" cy="20" r="10" fill="{}"/></svg>'
LINE = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 40"><path d="M1 1L39 39" stroke="#000"/></svg>'
PAGE = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 40"><path d="M0 0H40V40H0z" fill="#123"/></svg>'


def picture(name: str, *, label: str | None = None, test: bool = False) -> Picture:
    """A row; what it shows is read from the package anyway."""
    return Picture(b"on white", ("words",), label, test, name)


def none(_folders: Folders, _dropped: Dropped) -> Iterator[Picture]:
    return iter(())


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Built sources and unpacked packages with a bird and a fruit on each side; these are all categories there are."""
    wanted = {"bird": CATEGORIES["bird"], "fruit": CATEGORIES["fruit"]}
    monkeypatch.setattr(drawings, "CATEGORIES", wanted)
    sources = []
    for each in (clip_art, stamps):
        package = Package("apt", each.PACKAGE.name, "1", "0" * 64)
        sources.append(Source(each.SOURCE.name, (package,), "", "", none))
    monkeypatch.setattr(clip_art, "SOURCE", sources[0])
    monkeypatch.setattr(stamps, "SOURCE", sources[1])
    monkeypatch.setattr(drawings, "SOURCES", tuple(sources))
    packages = {each.PACKAGE.name: tmp_path / each.PACKAGE.name for each in (clip_art, stamps)}
    monkeypatch.setattr(drawings, "unpack", lambda package, _cache: packages[package.name])
    files = {
        clip_art: {
            "animals/birds/wren.svg": DISC.format("#a00"),
            "animals/birds/line.svg": LINE,
            "animals/birds/gone.svg": "no drawing",
            "food/fruit/pear.svg": DISC.format("#0a0"),
            "office/pen.svg": DISC.format("#00a"),
        },
        stamps: {"animals/birds/owl.svg": DISC.format("#aa0"), "food/fruit/fig.svg": DISC.format("#a0a")},
    }
    for module, contents in files.items():
        for name, svg in contents.items():
            path = packages[module.PACKAGE.name] / module.ROOT / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(svg)
        rows = [picture(name, test=module is stamps) for name in contents]
        write_source(tmp_path / f"{module.SOURCE.name}.parquet", module.SOURCE, rows)
    return tmp_path, tmp_path


def test_drawings_are_those_of_the_categories_on_the_sides_of_the_built_sources(library: tuple[Path, Path]) -> None:
    found = read_drawings(*library)
    assert [(each.name, each.category, each.test) for each in found] == [
        ("clip_art/animals/birds/wren.svg", "bird", False),
        ("clip_art/food/fruit/pear.svg", "fruit", False),
        ("tux_paint/animals/birds/owl.svg", "bird", True),
        ("tux_paint/food/fruit/fig.svg", "fruit", True),
    ]


def test_a_drawing_is_cut_out_with_its_alpha(library: tuple[Path, Path]) -> None:
    pixels = read_drawings(*library)[0].pixels()
    height, width, channels = pixels.shape
    assert channels == 4
    assert 0.85 * SIDE <= max(height, width) <= SIDE
    assert pixels[height // 2, width // 2].tolist() == [170, 0, 0, 255]
    assert pixels[1, 1, 3] == 0
    assert (pixels[..., 3] >= 128).mean() == pytest.approx(np.pi / 4, abs=0.03)


def test_a_category_without_a_drawing_on_one_side_is_said(library: tuple[Path, Path]) -> None:
    write_source(library[0] / "tux_paint.parquet", stamps.SOURCE, [picture("food/fruit/fig.svg", test=True)])
    with pytest.raises(ExpertError, match=r"^no test drawing shows a bird\.$"):
        read_drawings(*library)


def test_a_source_that_is_not_built_is_said(library: tuple[Path, Path]) -> None:
    (library[0] / "clip_art.parquet").unlink()
    with pytest.raises(DataError, match="build it with `python -m training build-data"):
        read_drawings(*library)


def _rgba(cover: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Image.Image:
    pixels = np.zeros((*cover.shape, 4), np.uint8)
    pixels[cover] = (10, 20, 30, 255)
    return Image.fromarray(pixels)


def test_lines_and_pictures_with_a_background_have_no_outline() -> None:
    assert usable(_rgba(np.eye(64, dtype=bool))) is None
    assert usable(_rgba(np.ones((64, 64), dtype=bool))) is None
    assert usable(_rgba(np.zeros((64, 64), dtype=bool))) is None


def test_a_large_drawing_is_made_small_and_a_small_one_is_left_as_it_is() -> None:
    rows, columns = np.mgrid[:400, :400] - 200
    for radius, expected in ((180, SIDE), (20, 41)):
        content = usable(_rgba(rows**2 + columns**2 <= radius**2))
        assert content is not None
        with Image.open(io.BytesIO(content)) as image:
            assert image.size == (expected, expected)


def test_categories_come_from_labels_of_emoji_and_folders_of_the_others() -> None:
    assert category_of("emoji", picture("3d emoji/1f426", label="bird")) == "bird"
    assert category_of("emoji", picture("3d emoji/1f697", label="vehicle")) is None
    assert category_of("clip_art", picture("animals/birds/wren.svg", label="animal")) == "bird"
    assert category_of("tux_paint", picture("people/cartoon/x.svg")) is None


def test_no_category_is_a_class_of_the_scenes() -> None:
    assert not set(CATEGORIES) & set(SCENE_CLASSES)
    assert all(places for places in CATEGORIES.values())
