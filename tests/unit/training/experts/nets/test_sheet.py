"""Contact sheets, and what they say of their pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.unit.training.experts.made_up_experts import MadeUpExpert
from tests.unit.training.experts.made_up_scenes import SIDE, draw_scenes
from tests.unit.training.tiny_data import Item, picture_bytes, write_source
from training.experts.errors import ExpertError
from training.experts.nets.sheet import DRAWN, HEADING_PX, make_sheet, show
from training.experts.protocol import Kind
from training.experts.scene_source import Photographs, write_scenes
from training.experts.scenes.sheet import GAP_PX

pytestmark = pytest.mark.torch

STEP = SIDE + GAP_PX


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = draw_scenes(tmp_path_factory.mktemp("scenes"))
    write_source(folder, "grocery_store", [Item(seed, label="plum", split="test") for seed in range(5)])
    return folder


def experts() -> list[MadeUpExpert]:
    def flat(images: np.ndarray) -> np.ndarray:
        return np.ones(images.shape[:3], np.float32)

    return [MadeUpExpert(lambda images: images[..., 0] % 20), MadeUpExpert(flat, Kind.DISPARITY)]


def test_scenes_are_shown_with_exact_labels_beside_the_answers(shelf: Path, tmp_path: Path) -> None:
    sheet = make_sheet(experts(), [shelf], ["kept"], count=5, size=SIDE, across=2)
    assert sheet.columns == (
        "picture",
        "classes: exact",
        "classes: made-up",
        "disparity: exact",
        "disparity: made-up",
    )
    assert sheet.page.shape == (HEADING_PX + 3 * STEP, 10 * STEP, 3)
    assert {each["licence"] for each in sheet.pictures} == {DRAWN}
    sheet.save(tmp_path / "of" / "scenes.png")
    with Image.open(tmp_path / "of" / "scenes.png") as page:
        assert np.array_equal(np.asarray(page), sheet.page)
    facts = json.loads((tmp_path / "of" / "scenes.json").read_text("utf-8"))
    assert [each["picture"] for each in facts["pictures"]] == [f"scene {seed}" for seed in range(900, 905)]
    assert facts["experts"][0]["name"] == "made-up"


def test_photographs_have_answers_alone_and_a_licence_where_it_is_known(shelf: Path) -> None:
    sheet = make_sheet(experts(), [shelf], ["grocery_store"], count=3, size=SIDE)
    assert sheet.columns == ("picture", "classes: made-up", "disparity: made-up")
    assert [each["licence"] for each in sheet.pictures] == ["MIT"] * 3


def test_a_scene_has_the_licence_of_the_photograph_behind_it(shelf: Path, small_data: Path) -> None:
    write_scenes(
        shelf, "shown", count=6, seed=0, size=SIDE, photographs=Photographs(shelf, ("grocery_store",)), test=True
    )
    write_scenes(shelf, "hidden", count=6, seed=0, size=SIDE, photographs=Photographs(small_data, ("things",)))
    shown, hidden = (make_sheet(experts(), [shelf], [name], count=6, size=SIDE) for name in ("shown", "hidden"))
    assert {each["licence"] for each in shown.pictures} == {DRAWN, "MIT"}
    assert {each["licence"] for each in hidden.pictures} == {DRAWN, "unknown"}
    assert any(" before things " in each["picture"] for each in hidden.pictures)


def test_scenes_and_photographs_do_not_go_on_one_page(shelf: Path) -> None:
    with pytest.raises(ExpertError, match="make a sheet of each"):
        make_sheet(experts(), [shelf], ["kept", "grocery_store"], count=2, size=SIDE)


def test_labels_of_another_size_are_refused(shelf: Path) -> None:
    with pytest.raises(ExpertError, match=f"labels of {SIDE} pixels, not of 48"):
        make_sheet(experts(), [shelf], ["kept"], count=2, size=48)


def test_a_sheet_of_nothing_is_refused(shelf: Path) -> None:
    with pytest.raises(ExpertError, match="needs an expert and a picture"):
        make_sheet([], [shelf], ["kept"], count=2, size=SIDE)


def test_the_sky_is_darkest_and_the_unknown_is_blue() -> None:
    shown = show(Kind.DISPARITY, np.array([[0.5, 0.0, np.nan]], np.float32))
    assert shown[0].tolist() == [[255, 255, 255], [20, 20, 20], [40, 40, 120]]


def test_a_composite_has_no_licence_of_its_sources_name(tmp_path: Path) -> None:
    """It shows drawings by many hands before a photograph, whatever it is called."""
    row = {"image": picture_bytes(1), "captions": ["a bird on a photo"], "label": None, "split": "test"}
    row |= {"source": "grocery_store", "extra": json.dumps({"photograph": "flickr8k 0123", "seed": 3})}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "grocery_store.parquet")
    (picture,) = make_sheet(experts(), [tmp_path], ["grocery_store"], count=1, size=SIDE).pictures
    assert (picture["licence"], picture["picture"]) == ("unknown", "composite 3 before flickr8k 0123")
