"""The detection probe."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from training.experts.maps import MapShape
from training.experts.probes.boxes import Objects, box_levels, encode_boxes, make_anchors
from training.experts.probes.detection import FINEST, SsdProbe, detect, detection_loss, goals_loss, match_all

pytestmark = pytest.mark.torch

SHAPE = MapShape(4, 8, 8)
# Two anchors on one place: the left half of the picture, and the right.
ANCHORS = torch.tensor([[0.25, 0.5, 0.5, 1.0], [0.75, 0.5, 0.5, 1.0]])
LEFT = Objects(torch.tensor([[0.0, 0.0, 0.5, 1.0]]), torch.tensor([0]))
NOTHING = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))


def test_every_anchor_has_its_outputs_whatever_the_map() -> None:
    count = len(make_anchors(box_levels(FINEST, FINEST)))
    for places in (torch.randn(2, 4, 8, 8), torch.randn(2, 4, 5, 3)):
        probe = SsdProbe(MapShape(*places.shape[1:]), 3, width=8)
        logits, codes = probe(places)
        assert logits.shape == (2, count, 4)
        assert codes.shape == (2, count, 4)
        assert probe.anchors.shape == (count, 4)
    finer = SsdProbe(MapShape(4, 16, 16), 3, width=8)
    assert finer(torch.randn(1, 4, 16, 16))[0].shape[1] == len(make_anchors(box_levels(16, 16)))


def test_outputs_belong_to_the_anchor_of_their_place() -> None:
    """What changes in one corner of the map changes most, on the first map, for the anchors of that corner."""
    probe = SsdProbe(SHAPE, 3, width=8).eval()
    one = torch.zeros(1, 4, 8, 8)
    one += torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    other = one.clone()
    other[:, :, 7, 0] += 20.0
    first = FINEST * FINEST * probe.levels[0].kinds
    apart = (probe(one)[1] - probe(other)[1]).detach().abs().sum(dim=2)[0, :first]
    nearest = probe.anchors[int(apart.argmax())]
    assert nearest[0] < 0.3
    assert nearest[1] > 0.7


def test_goals_that_were_matched_before_give_the_same_loss() -> None:
    logits, codes = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 2, 4)
    goals = match_all([NOTHING, LEFT, LEFT], ANCHORS)
    found = goals_loss(logits, codes, goals.take(torch.tensor([1, 0])))
    assert found.item() == pytest.approx(detection_loss(logits, codes, [LEFT, NOTHING], ANCHORS).item())


def test_the_loss_by_hand() -> None:
    """One right anchor, whose box is off by one in one code (smooth L1: 1/2), and one negative; uniform logits."""
    codes = torch.zeros(1, 2, 4)
    codes[0, 0, 0] = 1.0
    found = detection_loss(torch.zeros(1, 2, 3), codes, [LEFT], ANCHORS).item()
    assert found == pytest.approx(0.5 + 2 * math.log(3), rel=1e-5)


def test_only_the_hardest_negatives_count() -> None:
    anchors = torch.cat([ANCHORS, torch.tensor([[0.75, y / 10, 0.1, 0.1] for y in range(1, 9)])])
    logits = torch.zeros(1, 10, 2)
    logits[0, :, 0] = 4.0  # everything says background
    logits[0, 1:4] = 0.0  # three are unsure
    easy, hard = math.log(1 + math.exp(-4)), math.log(2)
    missed = math.log(1 + math.exp(4))
    found = detection_loss(logits, torch.zeros(1, 10, 4), [LEFT], anchors).item()
    assert found == pytest.approx(missed + 3 * hard, rel=1e-5)
    assert easy < 0.05


def test_a_batch_without_objects_still_learns_what_background_is() -> None:
    logits = torch.zeros(1, 2, 3, requires_grad=True)
    loss = detection_loss(logits, torch.zeros(1, 2, 4), [NOTHING], ANCHORS)
    loss.backward()  # type: ignore[no-untyped-call]  # torch's
    assert loss.isfinite()
    assert logits.grad is not None
    assert (logits.grad[..., 0] < 0).all()


def _certain(*classes: int) -> Tensor:
    logits = torch.zeros(1, len(classes), 3)
    logits[0, torch.arange(len(classes)), torch.tensor(classes)] = 8.0
    return logits


def test_certain_anchors_are_detected_where_their_codes_say() -> None:
    box = torch.tensor([[0.1, 0.2, 0.6, 0.9], [0.5, 0.0, 1.0, 1.0]])
    (found,) = detect(_certain(2, 0), encode_boxes(box, ANCHORS)[None], ANCHORS)
    assert found.classes.tolist() == [1]
    assert torch.allclose(found.boxes, box[:1], atol=1e-6)
    assert found.scores.item() > 0.99


def test_of_overlapping_boxes_of_a_class_the_best_is_kept_and_of_other_classes_all_are() -> None:
    anchors = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.52, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]])
    logits = _certain(1, 1, 2)
    logits[0, 1, 1] = 9.0
    (found,) = detect(logits, torch.zeros(1, 3, 4), anchors, floor=0.5)
    assert found.classes.tolist() == [0, 1]
    assert found.boxes[0, 0].item() == pytest.approx(0.27)
    (fewer,) = detect(logits, torch.zeros(1, 3, 4), anchors, floor=0.5, most=1)
    assert fewer.classes.tolist() == [0]


def test_nothing_above_the_floor_is_no_detection() -> None:
    (found,) = detect(_certain(0, 0), torch.zeros(1, 2, 4), ANCHORS)
    assert len(found.scores) == 0
