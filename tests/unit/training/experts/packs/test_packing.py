"""Packs of the study: made of rows, labels and runs, written, read, and fed to a fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from service.model_config import Preprocessing
from tests.unit.training.adapters.packed import write_run
from tests.unit.training.experts.made_up_experts import MadeUpExpert
from training.checkpoint import CheckpointError
from training.data.augment import Augmentation
from training.data.rows import DataError
from training.data.sources import read_rows
from training.data.splits import Split
from training.experts.dense_source import read_extras
from training.experts.errors import ExpertError
from training.experts.labels.run import LabelSettings, label_rows
from training.experts.packs.feed import (
    PackedTargets,
    PackFeed,
    exact_targets,
    fit_targets,
    pack_pairs,
    set_objects,
)
from training.experts.packs.pack import ExpertPack, digest_of, load_expert_pack, save_expert_pack
from training.experts.packs.packing import DENSE, TAUGHT, Wanted, make_expert_pack
from training.experts.protocol import Dense, Identity, Kind, Pictures
from training.experts.scene_source import Photographs, write_scenes
from training.experts.scenes import CLASSES, make_scene
from training.experts.targets import NO_CLASS

pytestmark = pytest.mark.torch

SIDE = 24
SEEN = Preprocessing(SIDE, "shortest", "bicubic", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
FITTED = ("photographs", "scenes_fit")
WANTED = {
    "photographs": Wanted("scenes", Split.TOWER_TRAIN, 5, {}, pseudo=True),
    "scenes_fit": Wanted("scenes_fit", None, 6, TAUGHT, pseudo=True),
    "scenes_probe": Wanted("scenes_fit", None, 4, DENSE),
    "things": Wanted("things", Split.TEST, 3, {}),
}


class Everywhere:
    """Experts that say the same of every pixel."""

    def __init__(self, kind: Kind) -> None:
        self.identity = Identity(f"made-up-{kind}", "1", "00" * 32, kind, CLASSES if kind is Kind.CLASSES else ())

    def __call__(self, images: Pictures) -> Dense:
        kind, shape = self.identity.kind, images.shape[:3]
        if kind is Kind.NORMALS:
            return np.broadcast_to(np.array([0, 0, -1], np.float32), images.shape).copy()
        return np.full(shape, 3, np.uint8) if kind is Kind.CLASSES else np.full(shape, 0.5, np.float32)


@pytest.fixture(scope="module")
def data(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    drawn = tmp_path_factory.mktemp("drawn")
    write_scenes(drawn, "scenes_fit", count=6, seed=0, size=SIDE)
    return [small_data, drawn]


@pytest.fixture(scope="module")
def labels(data: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, found = tmp_path_factory.mktemp("labels"), []
    for source in ("scenes", "scenes_fit"):
        for kind in (Kind.CLASSES, Kind.DISPARITY, Kind.NORMALS):
            found.append(folder / source / kind)
            label_rows(read_rows(data, [source]), Everywhere(kind), found[-1], LabelSettings(SEEN))
    return found


@pytest.fixture(scope="module")
def run(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "vit-s", small_data)


def _pack(data: list[Path], labels: list[Path], run: Path, wanted: Mapping[str, Wanted] = WANTED) -> ExpertPack:
    return make_expert_pack(data, labels, [run], wanted=wanted, side=SIDE, progress=lambda _: None)


@pytest.fixture(scope="module")
def pack(data: list[Path], labels: list[Path], run: Path) -> ExpertPack:
    return _pack(data, labels, run)


def test_a_pack_holds_what_was_wanted(pack: ExpertPack) -> None:
    assert {name: len(each) for name, each in pack.sets.items()} == {
        "photographs": 5,
        "scenes_fit": 6,
        "scenes_probe": 4,
        "things": 3,
    }
    assert set(pack.sets["photographs"].maps) == {"pseudo-classes", "pseudo-depth", "pseudo-normals"}
    assert pack.sets["scenes_fit"].maps["exact-depth"].kind is Kind.DISPARITY
    assert pack.sets["scenes_probe"].maps["exact-depth"].kind is Kind.DEPTH
    assert pack.sets["scenes_probe"].maps["exact-classes"].classes == CLASSES
    assert pack.sets["things"].classes == ("apple", "bear", "chair")
    assert pack.sets["things"].decoded().shape == (3, SIDE, SIDE, 3)
    assert list(pack.towers) == ["vit-s"]


def test_exact_labels_are_those_of_the_scenes(pack: ExpertPack) -> None:
    scenes = {hash_of(scene.classes): scene for scene in (make_scene(seed, SIDE) for seed in range(6))}
    targets = exact_targets(pack, "scenes_probe")
    assert targets.classes is not None
    assert targets.depth is not None
    for row, packed in enumerate(pack.sets["scenes_probe"].rows):
        scene = scenes[hash_of(targets.classes[row].numpy().astype(np.uint8))]
        np.testing.assert_allclose(targets.depth[row].numpy(), scene.depth, rtol=1e-2)
        assert [name for name, *_ in packed.boxes] == [each.name for each in scene.objects]
        objects = set_objects([packed], CLASSES[1:])[0]
        np.testing.assert_allclose(objects.boxes[0].numpy() * SIDE, scene.objects[0].box, atol=1e-4)


def hash_of(values: Dense) -> bytes:
    """Bytes of a map, to find it again by."""
    return values.tobytes()


def test_a_pack_comes_back_from_its_file_and_is_the_same_file_again(pack: ExpertPack, tmp_path: Path) -> None:
    save_expert_pack(tmp_path / "one", pack)
    again = load_expert_pack(tmp_path / "one")
    assert again.sets.keys() == pack.sets.keys()
    for name, each in again.sets.items():
        assert (each.rows, each.pictures, each.classes) == (
            pack.sets[name].rows,
            pack.sets[name].pictures,
            pack.sets[name].classes,
        )
        for key, maps in each.maps.items():
            mine = pack.sets[name].maps[key]
            assert (maps.kind, maps.by, maps.classes) == (mine.kind, mine.by, mine.classes)
            assert [one and one.payload for one in maps.maps] == [one and one.payload for one in mine.maps]
    save_expert_pack(tmp_path / "two", again)
    assert digest_of(tmp_path / "one") == digest_of(tmp_path / "two")


def test_a_fit_sees_experts_labels_and_captions(pack: ExpertPack) -> None:
    pixels = {name: pack.sets[name].decoded() for name in FITTED}
    pairs = pack_pairs(pack, "vit-s", FITTED, pixels)
    targets = fit_targets(pack, dict.fromkeys(FITTED, "pseudo"))
    feed = PackFeed(pairs, targets, torch.device("cpu"), Augmentation())
    batch = feed.batch(np.array([0, 7, 10]), side=16, seed=1, step=2)
    assert batch.images.shape == (3, 3, 16, 16)
    assert batch.targets.classes is not None
    assert set(batch.targets.classes.flatten().tolist()) <= {3, NO_CLASS}
    again = feed.batch(np.array([0, 7, 10]), side=16, seed=1, step=2)
    assert again.targets.classes is not None
    assert torch.equal(batch.images, again.images)
    assert torch.equal(batch.targets.classes, again.targets.classes)


def test_captions_that_a_mirror_makes_untrue_are_left_out_where_there_are_others(pack: ExpertPack) -> None:
    row = replace(pack.sets["scenes_fit"].rows[0], captions=("a box to the right of a ball", "a box and a ball"))
    few = replace(pack.sets["scenes_fit"], rows=(row,), pictures=pack.sets["scenes_fit"].pictures[:1])
    changed = replace(pack, sets={"scenes_fit": few})
    assert pack_pairs(changed, "vit-s", ["scenes_fit"], {"scenes_fit": few.decoded()}).words == ("a box and a ball",)


def test_a_pack_says_which_pictures_have_a_photograph_in_them(
    data: list[Path], labels: list[Path], run: Path, small_data: Path, tmp_path: Path
) -> None:
    write_scenes(tmp_path, "behind", count=6, seed=0, size=SIDE, photographs=Photographs(small_data, ("things",), 0.5))
    made = _pack([*data, tmp_path], labels, run, {"behind": Wanted("behind", None, 6, DENSE)})
    save_expert_pack(tmp_path / "pack", made)
    chosen = load_expert_pack(tmp_path / "pack").sets["behind"]
    extras = read_extras(tmp_path / "behind.parquet")
    assert [row.behind for row in chosen.rows] == [extras[row.digest].get("photograph", "") for row in chosen.rows]
    own = chosen.without_photographs(2)
    assert len(own) == 2
    assert not any(chosen.rows[number].behind for number in own)
    assert any(row.behind for row in chosen.rows)


def test_without_experts_a_fit_sees_no_labels(pack: ExpertPack) -> None:
    pairs = pack_pairs(pack, "vit-s", FITTED[:1], {"photographs": pack.sets["photographs"].decoded()})
    feed = PackFeed(pairs, PackedTargets(SIDE, 5, {}, {}), torch.device("cpu"), Augmentation())
    assert len(feed.batch(np.array([0, 1]), side=SIDE, seed=0, step=0).targets) == 0
    with pytest.raises(ExpertError, match="5 pictures with the targets of 4"):
        replace(feed, targets=PackedTargets(SIDE, 4, {}, {}))


def test_exact_and_experts_labels_can_be_mixed(pack: ExpertPack) -> None:
    mixed = fit_targets(pack, {"photographs": "pseudo", "scenes_fit": "exact"})
    assert len(mixed) == 11
    assert len(mixed.take(np.array([0, 10]))) == 2


def test_depths_become_disparities_where_a_fit_learns_from_them(pack: ExpertPack) -> None:
    found = fit_targets(pack, {"scenes_probe": "exact"}).take(np.arange(4)).depth
    exact = exact_targets(pack, "scenes_probe").depth
    assert found is not None
    assert exact is not None
    torch.testing.assert_close(found, 1 / exact, equal_nan=True)


def test_labels_of_two_experts_or_of_none_are_told(
    data: list[Path], labels: list[Path], run: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="no expert's labels for normals"):
        _pack(data, labels[:2], run)
    with pytest.raises(DataError, match="labels for 0 of 6 pictures"):
        _pack(data, labels[:3], run)
    other = tmp_path / "other"
    label_rows(read_rows(data, ["scenes"]), MadeUpExpert(version="2"), other, LabelSettings(SEEN))
    with pytest.raises(ExpertError, match="labels of several experts"):
        _pack(data, [*labels, other], run)
    with pytest.raises(ExpertError, match="cut as"):
        make_expert_pack(data, labels, [run], wanted=WANTED, side=32, progress=lambda _: None)


def test_what_is_missing_is_told(data: list[Path], labels: list[Path], run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no labels exact-classes"):
        _pack(data, labels, run, {"things": Wanted("things", None, 3, {"classes": "exact-classes"})})
    with pytest.raises(DataError, match="no row"):
        _pack(data, labels, run, {"none": Wanted("none", None, 3, {})})
    with pytest.raises(CheckpointError, match="train or restore it first"):
        _pack(data, labels, tmp_path)
    with pytest.raises(DataError, match="no such file"):
        load_expert_pack(tmp_path / "none")
