"""Rows' boxes to a fitted detection probe."""

from __future__ import annotations

import pytest
import torch

from training.experts.errors import ExpertError
from training.experts.fitting.config import FitSchedule
from training.experts.maps import MapShape
from training.experts.probes.boxes import Objects
from training.experts.probes.detection_fit import detection_probe, find_objects, fit_detection_probe, objects_of
from training.experts.probes.precision import mean_average_precision

pytestmark = pytest.mark.torch

CLASSES = ("background", "ball", "box")


def test_boxes_in_pixels_become_shares_and_classes_lose_the_background() -> None:
    extra = {"boxes": [["box", 0, 24, 48, 96], ["ball", 90, 0, 96, 6]], "size": 96, "seed": 5}
    found = objects_of(extra, CLASSES)
    assert found.classes.tolist() == [1, 0]
    assert found.boxes[0].tolist() == pytest.approx([0, 0.25, 0.5, 1])
    assert found.boxes[1].tolist() == pytest.approx([0.9375, 0, 1, 0.0625])


def test_a_picture_without_objects_has_none() -> None:
    found = objects_of({"boxes": [], "size": 96}, CLASSES)
    assert found.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    "extra",
    [
        {"size": 96},
        {"boxes": [["background", 0, 0, 1, 1]], "size": 96},
        {"boxes": [["cone", 0, 0, 1, 1]], "size": 96},
        {"boxes": [["ball", 0, 0, 1]], "size": 96},
        {"boxes": [["ball", 5, 0, 5, 9]], "size": 96},
        {"boxes": 7, "size": 96},
    ],
)
def test_boxes_that_cannot_be_read_are_one_sentence(extra: dict[str, object]) -> None:
    with pytest.raises(ExpertError, match=r"^boxes of a row cannot be read: "):
        objects_of(extra, CLASSES)


def squares(n: int, side: int, seed: int) -> tuple[torch.Tensor, list[Objects]]:
    """Maps of `side` places with one square of two classes at a random place, and what it is."""
    generator = torch.Generator().manual_seed(seed)
    places, objects = torch.zeros(n, 4, side, side), []
    for plane in places:
        left, top, label = (int(torch.randint(high, (1,), generator=generator)) for high in (side - 2, side - 2, 2))
        plane[label, top : top + 3, left : left + 3] = 1.0
        box = torch.tensor([[left, top, left + 3, top + 3]]) / side
        objects.append(Objects(box, torch.tensor([label])))
    return places, objects


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_probe_finds_squares_that_it_has_not_seen_even_on_a_coarse_map(device: str) -> None:
    side = 6
    places, objects = squares(64, side, 0)
    unseen, truth = squares(24, side, 1)
    places, unseen = places.to(device), unseen.to(device)
    probe = detection_probe(MapShape(4, side, side), 2, width=16).to(device)
    schedule = FitSchedule(epochs=8, batch_size=8, warmup_steps=5, peak_lr=1e-2)
    before = mean_average_precision(find_objects(probe, unseen), truth, 2, [0.5])
    losses = fit_detection_probe(probe, places, objects, schedule, seed=0)
    assert losses[-1] < losses[0] / 4
    assert mean_average_precision(find_objects(probe, unseen), truth, 2, [0.5]) > max(0.6, before + 0.3)


def _probe(seed: int) -> torch.nn.Module:
    return detection_probe(MapShape(4, 6, 6), 2, width=8, seed=seed)


def test_the_seed_decides_the_weights_and_leaves_the_callers_stream_alone() -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    weights = [torch.cat([part.flatten() for part in _probe(seed).parameters()]) for seed in (0, 0, 1)]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_objects_of_other_pictures_are_refused() -> None:
    places, objects = squares(4, 6, 0)
    with pytest.raises(ExpertError, match="4 maps with the objects of 3 pictures"):
        fit_detection_probe(detection_probe(MapShape(4, 6, 6), 2), places, objects[:3], FitSchedule(), seed=0)
