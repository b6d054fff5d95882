"""Batches of pictures with texts and targets."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.unit.training.adapters.small_clip import IMAGE
from tests.unit.training.experts.made_up import generator, pairs, pictured_targets, targets, unit_normals
from training.data.augment import Augmentation
from training.experts.errors import ExpertError
from training.experts.fitting.feed import PairsFeed, augment_densely, unsided
from training.experts.targets import NO_CLASS, Targets

pytestmark = pytest.mark.torch

STILL = Augmentation(scale=(1.0, 1.0), shift=0.0, contrast=0.0, brightness=0.0, saturation=0.0, mirror=0.0)
MOVING = Augmentation(scale=(0.3, 1.0), shift=0.2, contrast=0.0, brightness=0.0, saturation=0.0, mirror=0.5)


def test_without_strength_pictures_and_targets_stay_as_they_are() -> None:
    images, goal = pairs(4).images, targets(4)
    planes, found = augment_densely(images, goal, STILL, generator(), IMAGE)
    assert torch.allclose(planes, images.permute(0, 3, 1, 2) / 255, atol=1e-5)
    for one, other in ((found.classes, goal.classes), (found.depth, goal.depth), (found.normals, goal.normals)):
        assert one is not None
        assert other is not None
        assert torch.equal(one.nan_to_num(-7), other.nan_to_num(-7))


def test_targets_move_with_the_picture() -> None:
    """Depth that is the picture's own red: after any crop and mirror they still agree, but for the mixing at edges."""
    rows = torch.linspace(0, 255, 32).view(1, 32, 1) + torch.linspace(0, 60, 32).view(1, 1, 32)
    red = rows.clamp(max=255).to(torch.uint8).expand(8, -1, -1)
    images = torch.stack([red, red, red], dim=3)
    planes, found = augment_densely(images, Targets(depth=red / 255), MOVING, generator(), 32)
    assert found.depth is not None
    known = ~found.depth.isnan()
    assert 0.5 < known.float().mean() < 1
    assert (planes[:, 0] - found.depth)[known].abs().max() < 0.05
    assert planes.isfinite().all()


def test_mirrored_normals_are_turned_and_others_are_not() -> None:
    images, normals = pairs(4).images, unit_normals(4, IMAGE)
    always = Augmentation(**{**STILL.__dict__, "mirror": 1.0})
    planes, found = augment_densely(images, Targets(normals=normals), always, generator(), IMAGE)
    expected = Targets(normals=normals).flipped().normals
    assert found.normals is not None
    assert expected is not None
    assert torch.equal(found.normals, expected)
    assert torch.allclose(planes, images.flip(2).permute(0, 3, 1, 2) / 255, atol=1e-5)


def test_what_lies_beyond_the_picture_has_no_target() -> None:
    wide = Augmentation(**{**STILL.__dict__, "scale": (4.0, 4.0)})
    images, goal = pairs(2).images, targets(2, holes=False)
    planes, found = augment_densely(images, goal, wide, generator(), IMAGE)
    assert found.classes is not None
    assert found.depth is not None
    assert found.normals is not None
    middle = torch.zeros(2, IMAGE, IMAGE, dtype=torch.bool)
    middle[:, 4:12, 4:12] = True
    assert torch.equal(found.classes != NO_CLASS, middle)
    assert torch.equal(~found.depth.isnan(), middle)
    assert torch.equal(~found.normals.isnan().any(dim=1), middle)
    assert planes.isfinite().all()


def test_pictures_and_targets_come_in_the_size_asked_for() -> None:
    planes, found = augment_densely(pairs(2).images, targets(2), MOVING, generator(), 24)
    assert planes.shape == (2, 3, 24, 24)
    assert found.size == (24, 24)
    _, coarse = augment_densely(pairs(2).images, targets(2, side=5), STILL, generator(), 24)
    assert coarse.size == (24, 24)


def test_a_batch_follows_from_seed_and_step_alone() -> None:
    images = pairs().images
    feed = PairsFeed(pairs(), pictured_targets(images), MOVING)
    rows = np.array([3, 0, 8])
    one, again = (feed.batch(rows, side=16, seed=1, step=7) for _ in range(2))
    other = feed.batch(rows, side=16, seed=1, step=8)
    assert torch.equal(one.images, again.images)
    assert not torch.equal(one.images, other.images)
    assert len(one.targets) == len(rows) == len(one.images)


def test_texts_are_encoded_once_and_belong_to_their_pictures() -> None:
    made = pairs()
    batch = PairsFeed(made, Targets(), STILL).batch(np.array([0, 1, 3]), side=16, seed=0, step=0)
    assert len(batch.ids) == 2
    assert torch.equal(batch.ids[batch.own][:, 0], made.ids[[0, 1, 0]][:, 0])
    assert batch.match.tolist() == [[True, False, True], [False, True, False], [True, False, True]]
    assert len(batch.targets) == 0


def test_as_many_targets_as_pictures_or_none() -> None:
    with pytest.raises(ExpertError, match="12 pictures with the targets of 5"):
        PairsFeed(pairs(), targets(5), STILL)


def test_holes_stay_holes_and_do_not_spread() -> None:
    depth = torch.ones(1, 16, 16)
    depth[0, 5, 6] = math.nan
    _, found = augment_densely(pairs(1).images, Targets(depth=depth), STILL, generator(), 16)
    assert found.depth is not None
    assert torch.nonzero(found.depth.isnan()).tolist() == [[0, 5, 6]]


def test_captions_that_a_mirror_makes_untrue_are_left_out_where_there_are_others() -> None:
    assert unsided(["a box to the Left of a ball", "a box"]) == ["a box"]
    assert unsided(["a ball, right of a box"]) == ["a ball, right of a box"]
    assert unsided(["leftover food, brightly lit"]) == ["leftover food, brightly lit"]
