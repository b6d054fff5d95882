"""Dense targets of a batch."""

from __future__ import annotations

import pytest
import torch

from tests.unit.training.experts.made_up import targets
from training.experts.targets import Targets

pytestmark = pytest.mark.torch


def test_there_are_as_many_as_pictures_and_none_without_tasks() -> None:
    assert len(targets(5)) == 5
    assert targets(2, side=7).size == (7, 7)
    assert len(Targets()) == 0
    with pytest.raises(ValueError, match="no size"):
        _ = Targets().size


def test_some_pictures_are_taken_in_the_order_asked_for() -> None:
    whole = targets(4, holes=False)
    taken = whole.take(torch.tensor([2, 0]))
    assert taken.classes is not None
    assert whole.classes is not None
    assert torch.equal(taken.classes, whole.classes[[2, 0]])
    assert len(Targets().take(torch.tensor([0]))) == 0


def test_tasks_are_switched_off_one_by_one() -> None:
    left = targets().only(classes=False, depth=True, normals=False)
    assert (left.classes, left.normals) == (None, None)
    assert left.depth is not None


def test_a_mirrored_normal_points_the_other_way_along_x() -> None:
    normals = torch.zeros(1, 3, 1, 2)
    normals[0, :, 0, 0] = torch.tensor([0.6, 0.0, 0.8])
    normals[0, :, 0, 1] = torch.tensor([0.0, 1.0, 0.0])
    mirrored = Targets(torch.tensor([[[1, 2]]]), torch.tensor([[[3.0, 4.0]]]), normals).flipped()
    assert mirrored.classes is not None
    assert mirrored.depth is not None
    assert mirrored.normals is not None
    assert mirrored.classes.tolist() == [[[2, 1]]]
    assert mirrored.depth.tolist() == [[[4.0, 3.0]]]
    assert torch.equal(mirrored.normals[0, :, 0, 1], torch.tensor([-0.6, 0.0, 0.8]))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"classes": torch.zeros(1, 2, 2)}, "classes are int64 with 3 axes, not float32 with 3"),
        ({"depth": torch.zeros(1, 1, 2, 2)}, "depth are float32 with 3 axes, not float32 with 4"),
        ({"normals": torch.zeros(1, 2, 2, 2)}, "three channels, not 2"),
        ({"depth": torch.zeros(1, 2, 2), "normals": torch.zeros(1, 3, 2, 3)}, "different pictures or sizes"),
        ({"depth": torch.zeros(1, 2, 2), "normals": torch.zeros(2, 3, 2, 2)}, "different pictures or sizes"),
    ],
)
def test_other_shapes_and_types_are_refused(parts: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Targets(**parts)
