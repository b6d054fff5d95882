"""Default boxes, how boxes are told relative to them, and which finds what."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import box_convert

from training.experts.probes.boxes import (
    BACKGROUND,
    LONGEST_STEP,
    SIZES,
    Level,
    Objects,
    box_levels,
    decode_boxes,
    encode_boxes,
    make_anchors,
    match_anchors,
)

pytestmark = pytest.mark.torch

LEFT, RIGHT = [0.25, 0.5, 0.5, 0.5], [0.75, 0.5, 0.5, 0.5]  # centre x, y, width, height


def _objects(*boxes: list[float]) -> Objects:
    return Objects(torch.tensor(boxes).view(-1, 4), torch.arange(len(boxes)))


def test_default_boxes_lie_around_every_place_of_every_map() -> None:
    anchors = make_anchors([Level(2, 2, (0.1, 0.3)), Level(1, 1, (0.9,))])
    assert anchors.shape == (4 * 6 + 3, 4)
    assert anchors[0].tolist() == pytest.approx([0.25, 0.25, 0.1, 0.1])
    assert anchors[6].tolist() == pytest.approx([0.75, 0.25, 0.1, 0.1])
    wide, high, larger = anchors[1], anchors[2], anchors[3]
    assert (wide[2] / wide[3]).item() == pytest.approx(2)
    assert (high[2] / high[3]).item() == pytest.approx(0.5)
    assert (wide[2] * wide[3]).item() == pytest.approx(0.01)
    assert larger[2].item() == pytest.approx(0.3)
    assert anchors[24].tolist() == pytest.approx([0.5, 0.5, 0.9, 0.9])


@pytest.mark.parametrize("side", [1, 3, 6, 12, 14, 38])
def test_every_size_lies_on_one_map_the_coarsest_that_is_fine_enough(side: int) -> None:
    levels = box_levels(side, side)
    assert sorted(size for level in levels for size in level.sizes) == sorted(SIZES)
    for number, level in enumerate(levels):
        for size in level.sizes:
            coarser = (level.rows + 1) // 2
            assert number == 0 or 1 / level.rows <= LONGEST_STEP * size
            assert level.rows == 1 or 1 / coarser > LONGEST_STEP * size


def test_maps_of_twelve_and_of_six_places() -> None:
    assert [(level.rows, len(level.sizes)) for level in box_levels(12, 12)] == [(12, 4), (6, 2), (3, 1)]
    assert [(level.rows, len(level.sizes)) for level in box_levels(6, 6)] == [(6, 6), (3, 1)]


def test_codes_by_hand() -> None:
    """A box a tenth of the anchor's width to the right, and e^0.2 times as high."""
    anchors = torch.tensor([LEFT])
    box = box_convert(torch.tensor([[0.3, 0.5, 0.5, 0.5 * torch.e**0.2]]), "cxcywh", "xyxy")
    assert encode_boxes(box, anchors)[0].tolist() == pytest.approx([1.0, 0.0, 0.0, 1.0], abs=1e-5)


def test_decoding_undoes_encoding() -> None:
    anchors = make_anchors(box_levels(6, 6))
    corners = torch.rand(len(anchors), 2, generator=torch.Generator().manual_seed(0)) * 0.5
    boxes = torch.cat([corners, corners + 0.3], dim=1)
    assert torch.allclose(decode_boxes(encode_boxes(boxes, anchors), anchors), boxes, atol=1e-6)


def test_decoded_boxes_stay_in_the_picture_however_wild_the_codes() -> None:
    anchors = make_anchors(box_levels(2, 2))
    boxes = decode_boxes(torch.full((len(anchors), 4), 1e6), anchors)
    assert boxes.isfinite().all()
    assert boxes.min() >= 0
    assert boxes.max() <= 1


def test_an_object_takes_its_best_anchor_and_all_that_overlap_it_by_half() -> None:
    anchors = torch.tensor([LEFT, RIGHT, [0.27, 0.5, 0.5, 0.5], [0.5, 0.5, 0.01, 0.01]])
    classes, codes = match_anchors(_objects([0.0, 0.25, 0.5, 0.75]), anchors)
    assert classes.tolist() == [1, BACKGROUND, 1, BACKGROUND]
    assert codes[0].tolist() == pytest.approx([0.0] * 4)
    assert codes[2].tolist() == pytest.approx([-0.02 / 0.5 / 0.1, 0, 0, 0], abs=1e-5)


def test_an_object_that_overlaps_nothing_by_half_still_has_an_anchor() -> None:
    classes, _ = match_anchors(_objects([0.7, 0.4, 0.75, 0.5]), torch.tensor([LEFT, RIGHT]))
    assert classes.tolist() == [BACKGROUND, 1]


def test_two_objects_with_one_best_anchor_get_one_each() -> None:
    """The better fit has it, the other the next best, also if that overlaps the first object more."""
    objects = _objects([0.0, 0.25, 0.5, 0.75], [0.02, 0.25, 0.5, 0.7])
    classes, _ = match_anchors(objects, torch.tensor([LEFT, [0.3, 0.5, 0.5, 0.5], RIGHT]))
    assert classes.tolist() == [1, 2, BACKGROUND]


def test_more_objects_than_anchors_leave_objects_out_and_nothing_else() -> None:
    objects = _objects([0.5, 0.25, 1.0, 0.75], [0.0, 0.25, 0.5, 0.75], [0.0, 0.0, 0.1, 0.1])
    classes, _ = match_anchors(objects, torch.tensor([LEFT, RIGHT]))
    assert classes.tolist() == [2, 1]


def test_a_picture_without_objects_is_background() -> None:
    classes, codes = match_anchors(_objects(), torch.tensor([LEFT, RIGHT]))
    assert classes.tolist() == [BACKGROUND, BACKGROUND]
    assert codes.shape == (2, 4)


def test_boxes_without_an_area_are_refused() -> None:
    with pytest.raises(ValueError, match="ends where it begins"):
        _objects([0.5, 0.5, 0.5, 0.9])
    with pytest.raises(ValueError, match="objects: boxes"):
        Objects(torch.zeros(2, 4), torch.zeros(3, dtype=torch.int64))
