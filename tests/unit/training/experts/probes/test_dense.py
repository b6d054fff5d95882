"""Probes on the maps of frozen towers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from tests.unit.training.adapters.small_clip import small_clip
from tests.unit.training.experts.made_up import pairs, targets
from training.experts.errors import ExpertError
from training.experts.fitting.config import FitSchedule
from training.experts.maps import MapShape
from training.experts.probes.dense import (
    PAPER_SCHEDULES,
    PROBES,
    SMALL_SCHEDULES,
    DenseTask,
    ProbeKind,
    TaskName,
    dense_probe,
    enlarged,
    fit_dense_probe,
    frozen_maps,
    measure_dense_probe,
    summary,
    thinned,
)
from training.experts.targets import Targets
from training.models.towers import build_model

pytestmark = pytest.mark.torch

SHAPE = MapShape(6, 4, 4)
QUICK = FitSchedule(epochs=30, batch_size=8, warmup_steps=5, peak_lr=2e-2)
TASKS = {"classes": DenseTask("classes", classes=3), "depth": DenseTask("depth"), "normals": DenseTask("normals")}


def _readable(n: int = 24) -> tuple[Tensor, Targets]:
    """Maps whose channels say what every place is: three classes, a disparity, and a tilt."""
    generator = torch.Generator().manual_seed(0)
    places = torch.zeros(n, 6, 4, 4)
    classes = torch.randint(3, (n, 4, 4), generator=generator)
    places[:, :3] = nn.functional.one_hot(classes, 3).permute(0, 3, 1, 2)
    places[:, 3:5] = torch.rand(n, 2, 4, 4, generator=generator)
    places[:, 5] = 1.0
    normals = torch.stack([places[:, 4] - 0.5, torch.zeros(n, 4, 4), torch.full((n, 4, 4), 0.7)], dim=1)
    return places, Targets(classes, 1 / (places[:, 3] + 0.2), nn.functional.normalize(normals, dim=1))


def test_schedules_are_those_of_table_8() -> None:
    classes, depth, normals = (PAPER_SCHEDULES[name] for name in ("classes", "depth", "normals"))
    assert (classes.peak_lr, classes.last_lr, classes.batch_size, classes.warmup_steps) == (3e-5, 3e-6, 32, 500)
    assert (depth.peak_lr, depth.last_lr, depth.batch_size, depth.warmup_steps) == (1e-4, 1e-6, 16, 1000)
    assert (normals.peak_lr, normals.last_lr, normals.batch_size, normals.warmup_steps) == (1e-5, 1e-6, 16, 1000)
    assert {each.epochs for each in (classes, depth, normals)} == {50}
    found = PAPER_SCHEDULES["detection"]
    assert (found.epochs, found.first_lr, found.peak_lr, found.last_lr) == (200, 9e-5, 9e-4, 1e-6)


def test_every_task_has_a_short_schedule_for_every_head() -> None:
    assert SMALL_SCHEDULES.keys() == TASKS.keys()
    for schedules in SMALL_SCHEDULES.values():
        assert schedules.keys() == set(PROBES)
        for each in schedules.values():
            _, total = each.steps(1500)
            assert total <= 1000
            risen = min(each.warmup_steps, total // 4)
            assert each.rate(0, total) == each.first_lr < each.peak_lr == each.rate(risen, total)
            assert each.rate(total - 1, total) == pytest.approx(each.last_lr)


@pytest.mark.parametrize("kind", PROBES)
def test_every_probe_gives_every_place_its_outputs(kind: ProbeKind) -> None:
    probe = dense_probe(kind, SHAPE, 7, width=12).eval()
    assert probe(torch.randn(2, 6, 4, 4)).shape == (2, 7, 4, 4)
    again = dense_probe(kind, SHAPE, 7, width=12)
    assert all(torch.equal(a, b) for a, b in zip(probe.parameters(), again.parameters(), strict=True))


def test_a_linear_probe_is_one_point_wise_convolution() -> None:
    probe = dense_probe("linear", SHAPE, 7)
    assert isinstance(probe, nn.Conv2d)
    assert probe.kernel_size == (1, 1)


def test_dilations_are_the_papers_on_its_map_and_shrink_with_it() -> None:
    def dilations(side: int) -> list[int]:
        probe = dense_probe("deeplab", MapShape(6, side, side), 2, width=4)
        found = [each.dilation[0] for each in probe.modules() if isinstance(each, nn.Conv2d)]
        return [each for each in found if each > 1]

    assert dilations(32) == [6, 12, 18]
    assert dilations(8) == [2, 3, 4]
    assert dilations(2) == []


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("kind", PROBES)
def test_what_maps_say_is_learnt_and_holds_for_other_pictures(kind: ProbeKind, name: TaskName) -> None:
    task = TASKS[name]
    places, goal = _readable(32)
    seen, unseen = torch.arange(24), torch.arange(24, 32)
    probe = dense_probe(kind, SHAPE, task.outputs, width=16)
    before = summary(measure_dense_probe(probe, task, places[unseen], goal.take(unseen)))
    losses = fit_dense_probe(probe, task, places[seen], goal.take(seen), QUICK, seed=0)
    after = summary(measure_dense_probe(probe, task, places[unseen], goal.take(unseen), batch=3))
    assert len(losses) == 3 * 30
    assert losses[-1] < losses[0]
    if name == "classes":
        assert after["miou"] > 0.9 > before["miou"]
    elif name == "depth":
        # DeepLabv3's head drops half of its channels while it learns: a number is hard to read from so few.
        assert after["abs_rel"] < (0.95 if kind == "deeplab" else 0.6) * before["abs_rel"]
        assert after["ssi"] < before["ssi"]
    else:
        assert after["angle"] < before["angle"]
        assert after["within_30"] > max(0.9, before["within_30"])


def test_a_fit_is_the_same_again() -> None:
    places, goal = _readable()
    runs = []
    for _ in range(2):
        torch.rand(3)  # what else happens does not matter
        probe = dense_probe("deeplab", SHAPE, 3, width=8)
        runs.append(fit_dense_probe(probe, TASKS["classes"], places, goal, FitSchedule(epochs=2, batch_size=8), seed=4))
    assert runs[0] == runs[1]


def test_measures_are_of_every_picture_by_itself() -> None:
    places, goal = _readable(5)
    probe = dense_probe("linear", SHAPE, 3)
    whole = measure_dense_probe(probe, TASKS["classes"], places, goal)["confusion"]
    assert whole.shape == (5, 3, 3)
    assert whole.sum(dim=(1, 2)).tolist() == [16] * 5
    alone = measure_dense_probe(probe, TASKS["classes"], places[2:3], goal.take(torch.tensor([2])))["confusion"]
    assert torch.equal(whole[2:3], alone)


def test_a_summary_leaves_pictures_without_a_target_out() -> None:
    assert summary({"abs_rel": torch.tensor([0.1, math.nan, 0.3])}) == pytest.approx({"abs_rel": 0.2})


def test_targets_of_another_size_and_with_holes_do() -> None:
    task = TASKS["normals"]
    goal = targets(4, 16)
    losses = fit_dense_probe(dense_probe("psp", SHAPE, 4, width=8), task, _readable(4)[0], goal, QUICK, seed=0)
    assert all(math.isfinite(loss) for loss in losses)


def test_depths_beyond_the_cap_teach_nothing() -> None:
    task = DenseTask("depth", cap=2.0)
    found, near = torch.rand(1, 1, 1, 3), Targets(depth=torch.tensor([[[1.0, 1.5, math.nan]]]))
    far = Targets(depth=torch.tensor([[[1.0, 1.5, 70.0]]]))
    assert task.loss(found, far).item() == task.loss(found, near).item()


def test_frozen_maps_are_the_same_in_any_mode_and_batch_and_leave_the_mode() -> None:
    model = build_model("resnet-l").train()
    images = torch.randint(0, 256, (5, 16, 16, 3), dtype=torch.uint8)
    training = frozen_maps(model.visual, images, side=64)
    assert model.visual.trunk.training
    model.eval()
    assert torch.allclose(frozen_maps(model.visual, images, side=64, batch=2), training, atol=1e-5)
    assert training.shape == (5, 256, 4, 4)
    assert not training.requires_grad


def test_softened_pictures_give_other_maps() -> None:
    visual, images = small_clip().visual, pairs(3).images
    assert not torch.equal(frozen_maps(visual, images, side=16), frozen_maps(visual, images, side=16, softened=False))


def test_wrong_input_is_refused() -> None:
    places, goal = _readable(4)
    probe = dense_probe("linear", SHAPE, 3)
    with pytest.raises(ExpertError, match="4 maps with the targets of 3 pictures"):
        fit_dense_probe(probe, TASKS["classes"], places, goal.take(torch.arange(3)), QUICK, seed=0)
    with pytest.raises(ExpertError, match="needs targets of classes"):
        fit_dense_probe(probe, TASKS["classes"], places, Targets(depth=goal.depth), QUICK, seed=0)
    with pytest.raises(ExpertError, match="two pictures at least"):
        fit_dense_probe(probe, TASKS["classes"], places[:1], goal.take(torch.arange(1)), QUICK, seed=0)
    with pytest.raises(ValueError, match="segmentation, and nothing else"):
        DenseTask("classes")
    with pytest.raises(ValueError, match="segmentation, and nothing else"):
        DenseTask("depth", classes=4)
    with pytest.raises(FloatingPointError, match="at step 0"):
        fit_dense_probe(probe, TASKS["classes"], places * math.nan, goal, QUICK, seed=0)


def test_thinned_targets_are_the_middle_pixels() -> None:
    whole = targets(2, 9)
    thin = thinned(whole, 3)
    assert thin.size == (3, 3)
    assert whole.classes is not None
    assert thin.classes is not None
    assert torch.equal(thin.classes[:, 1, 2], whole.classes[:, 4, 7])
    assert thinned(whole, 1) is whole
    alone = thinned(whole.only(classes=True, depth=False, normals=False), 3)
    assert alone.depth is None
    assert alone.normals is None


def test_a_probe_answers_at_the_middle_pixels_what_it_answers_in_the_whole_picture() -> None:
    found = torch.randn(2, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    whole, small = enlarged(found, (36, 36)), enlarged(found, (12, 12))
    assert torch.allclose(small, whole[..., 1::3, 1::3], atol=1e-5)


def test_a_probe_learns_from_every_third_pixel() -> None:
    places, learnt = _readable()
    large = (
        Targets(learnt.classes.repeat_interleave(3, 1).repeat_interleave(3, 2)) if learnt.classes is not None else None
    )
    assert large is not None
    probe = dense_probe("linear", SHAPE, 3)
    losses = fit_dense_probe(probe, TASKS["classes"], places, large, QUICK, seed=0, every=3)
    assert losses[-1] < losses[0] / 3
    assert summary(measure_dense_probe(probe, TASKS["classes"], places, large))["miou"] > 0.6


@pytest.mark.parametrize("every", [2, 5])
def test_pixels_that_have_no_middle_are_refused(every: int) -> None:
    with pytest.raises(ValueError, match=f"every {every}th pixel"):
        thinned(targets(2, 9), every)
