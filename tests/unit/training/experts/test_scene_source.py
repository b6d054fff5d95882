"""Scenes as a source: rows with boxes, and labels that are the scenes' own."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.training.experts.made_up_scenes import COUNT, SIDE
from training.data.rows import DataError
from training.data.sources import available_sources, read_rows
from training.experts.dense_source import label_folder, read_extras
from training.experts.errors import ExpertError
from training.experts.labels.store import LabelStore
from training.experts.labels.targets import load_targets
from training.experts.scene_source import Photographs, exact_identities, generator_digest, write_scenes
from training.experts.scenes import CLASSES, make_scene

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def before_photographs(tmp_path_factory: pytest.TempPathFactory, small_data: Path) -> Path:
    folder = tmp_path_factory.mktemp("hung")
    behind = Photographs(small_data, ("things", "objects"), share=0.5)
    write_scenes(folder, "hung", count=10, seed=0, size=SIDE, photographs=behind, test=True)
    return folder


def test_pictures_and_labels_are_those_of_the_scenes(drawn: Path) -> None:
    rows = list(read_rows(drawn, ["drawn"]))
    digests = [row.digest for row in rows]
    stores = {
        kind: LabelStore(label_folder(drawn, "drawn", f"exact-{kind}"))
        for kind in ("classes", "depth", "disparity", "normals")
    }
    maps = {kind: store.maps(digests) for kind, store in stores.items()}
    assert len(rows) == COUNT
    for number, row in enumerate(rows):
        scene = make_scene(100 + number, SIDE)
        with Image.open(io.BytesIO(row.image)) as picture:
            assert np.array_equal(np.asarray(picture.convert("RGB")), scene.image)
        assert row.captions == scene.captions
        assert np.array_equal(maps["classes"][number], scene.classes)
        for kind, truth, step in (("depth", scene.depth, 2e-3), ("disparity", scene.disparity, 2e-5)):
            assert np.array_equal(np.isnan(maps[kind][number]), np.isnan(truth))
            assert np.nanmax(np.abs(maps[kind][number] - truth)) < step
        assert np.nanmin((maps["normals"][number] * scene.normals).sum(axis=-1)) > np.cos(np.radians(1))
    assert stores["classes"].description.identity.classes == CLASSES
    assert {store.description.geometry for store in stores.values()} == {f"shortest-{SIDE}-bicubic"}


def test_labels_serve_as_the_targets_of_a_fit(drawn: Path) -> None:
    digests = [row.digest for row in read_rows(drawn, ["drawn"])]
    stores = [LabelStore(label_folder(drawn, "drawn", f"exact-{kind}")) for kind in ("classes", "depth", "normals")]
    assert load_targets(digests, stores).size == (SIDE, SIDE)


def test_rows_say_where_their_objects_are(drawn: Path) -> None:
    for row, extra in zip(read_rows(drawn, ["drawn"]), read_extras(drawn / "drawn.parquet").values(), strict=True):
        scene = make_scene(extra["seed"], SIDE)
        assert extra["boxes"] == [[each.name, *each.box] for each in scene.objects]
        assert (extra["size"], extra["backdrop"]) == (SIDE, scene.backdrop)
        assert "photograph" not in extra
        assert not row.test


def test_the_side_of_the_split_is_that_of_the_rows_and_of_the_photographs(
    before_photographs: Path, small_data: Path
) -> None:
    rows = list(read_rows(before_photographs, ["hung"]))
    assert all(row.test for row in rows)
    extras = read_extras(before_photographs / "hung.parquet").values()
    behind = [extra["photograph"] for extra in extras if extra["backdrop"] == "photograph"]
    tests = {f"{row.source} {row.digest[:12]}" for row in read_rows(small_data, ["things", "objects"]) if row.test}
    assert 0 < len(behind) < 10
    assert set(behind) <= tests


def test_nothing_is_known_of_a_photograph(before_photographs: Path) -> None:
    extras = read_extras(before_photographs / "hung.parquet")
    hung = [digest for digest, extra in extras.items() if extra["backdrop"] == "photograph"]
    maps = {
        kind: LabelStore(label_folder(before_photographs, "hung", f"exact-{kind}")).maps(hung)
        for kind in ("classes", "depth", "disparity")
    }
    bare = maps["classes"] == 0
    assert bare.any()
    assert np.isnan(maps["depth"][bare]).all()
    assert np.isnan(maps["disparity"][bare]).all()


def test_equal_arguments_give_equal_files(drawn: Path, tmp_path: Path) -> None:
    path = write_scenes(tmp_path, "kept", count=6, seed=900, size=SIDE, test=True)
    assert path.read_bytes() == (drawn / "kept.parquet").read_bytes()


def test_other_arguments_are_refused_where_the_source_is(drawn: Path) -> None:
    with pytest.raises(ExpertError, match="made with other settings"):
        write_scenes(drawn, "kept", count=6, seed=901, size=SIDE, test=True)
    assert available_sources(drawn) == ("drawn", "kept")


def test_the_digest_is_that_of_the_generators_program() -> None:
    assert len(generator_digest()) == 64
    assert {identity.digest for identity in exact_identities()} == {generator_digest()}


def test_arguments_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    for count, seed, size in ((0, 0, 32), (1, -1, 32), (1, 0, 4)):
        with pytest.raises(ExpertError, match="scenes need a count of 1 or more"):
            write_scenes(tmp_path, "none", count=count, seed=seed, size=size)
    with pytest.raises(DataError, match="no train row to stand behind scenes"):
        write_scenes(
            tmp_path, "none", count=1, seed=0, size=16, photographs=Photographs(draw_tests(tmp_path), ("tests",))
        )


def draw_tests(folder: Path) -> Path:
    """A source without train rows."""
    write_scenes(folder / "only", "tests", count=1, seed=5, size=16, test=True)
    return folder / "only"
