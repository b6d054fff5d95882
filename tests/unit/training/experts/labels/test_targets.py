"""From labels on disk to the targets of a fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.training.experts.made_up_experts import SEEN, MadeUpExpert, picture_row
from training.experts.errors import ExpertError
from training.experts.labels.run import LabelSettings, label_rows
from training.experts.labels.store import LabelStore
from training.experts.labels.targets import load_targets
from training.experts.protocol import UNKNOWN_CLASS, Dense, Kind, Pictures
from training.experts.targets import NO_CLASS

pytestmark = pytest.mark.torch

ROWS = [picture_row(number) for number in (10, 20, 255)]
DIGESTS = [row.digest for row in ROWS]


def _depth(images: Pictures) -> Dense:
    depth: Dense = images[..., 0].astype(np.float32)
    depth[:, 0] = np.nan
    return depth


def _normals(images: Pictures) -> Dense:
    return np.broadcast_to(np.array([0, 0.6, -0.8], np.float32), images.shape).copy()


def _store(folder: Path, expert: MadeUpExpert, geometry: LabelSettings | None = None) -> LabelStore:
    label_rows(ROWS, expert, folder, geometry or LabelSettings(SEEN))
    return LabelStore(folder)


def test_every_task_is_in_its_place(tmp_path: Path) -> None:
    stores = [
        _store(tmp_path / "classes", MadeUpExpert()),
        _store(tmp_path / "depth", MadeUpExpert(_depth, Kind.DEPTH)),
        _store(tmp_path / "normals", MadeUpExpert(_normals, Kind.NORMALS)),
    ]
    targets = load_targets([*DIGESTS, "missing"], stores)
    assert targets.classes is not None
    assert targets.depth is not None
    assert targets.normals is not None
    assert targets.classes[:, 5, 5].tolist() == [10, 20, NO_CLASS, NO_CLASS]
    assert (UNKNOWN_CLASS, NO_CLASS) == (255, -1)
    assert targets.depth[:3, 5, 5].tolist() == [10, 20, 255]
    assert targets.depth[:3, 0].isnan().all()
    assert targets.depth[3].isnan().all()
    assert targets.normals.shape == (4, 3, 16, 16)
    assert torch.allclose(targets.normals[0, :, 2, 2], torch.tensor([0, 0.6, -0.8]), atol=0.02)
    assert targets.normals[3].isnan().all()


def test_a_task_without_an_expert_is_none(tmp_path: Path) -> None:
    targets = load_targets(DIGESTS, [_store(tmp_path, MadeUpExpert(_depth, Kind.DISPARITY))])
    assert targets.classes is None
    assert targets.normals is None
    assert targets.depth is not None


def test_two_experts_of_one_task_are_refused(tmp_path: Path) -> None:
    stores = [
        _store(tmp_path / "depth", MadeUpExpert(_depth, Kind.DEPTH)),
        _store(tmp_path / "disparity", MadeUpExpert(_depth, Kind.DISPARITY)),
    ]
    with pytest.raises(ExpertError, match="both have labels for depth"):
        load_targets(DIGESTS, stores)


def test_labels_of_two_sizes_are_refused(tmp_path: Path) -> None:
    stores = [
        _store(tmp_path / "classes", MadeUpExpert()),
        _store(tmp_path / "depth", MadeUpExpert(_depth, Kind.DEPTH), LabelSettings(SEEN, map_size=8)),
    ]
    with pytest.raises(ExpertError, match="maps of several sizes: 8, 16 pixels"):
        load_targets(DIGESTS, stores)


def test_labels_of_pictures_that_were_cut_in_two_ways_are_refused(tmp_path: Path) -> None:
    squashed = LabelSettings(replace(SEEN, resize_mode="squash"))
    stores = [
        _store(tmp_path / "classes", MadeUpExpert()),
        _store(tmp_path / "depth", MadeUpExpert(_depth, Kind.DEPTH), squashed),
    ]
    with pytest.raises(ExpertError, match="shortest-16-bicubic, squash-16-bicubic"):
        load_targets(DIGESTS, stores)
