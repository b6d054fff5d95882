"""The multi-task loop, and the folder of a fit."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

from tests.unit.training.adapters.small_clip import EMBEDDING, TEXT, pictures, small_clip
from tests.unit.training.experts.made_up import CLASSES, pairs, pictured_targets
from training.checkpoint import CheckpointError, load_tensors
from training.config import ConfigError
from training.curve import read_curve
from training.data.augment import Augmentation
from training.experts.errors import ExpertError
from training.experts.fitting.ahead import side_of
from training.experts.fitting.config import FitConfig, FitSchedule, parse_fit_config
from training.experts.fitting.feed import PairsFeed
from training.experts.fitting.fit import FitState, Taken, batch_terms, fit, make_optimizer, start_fit, take_step
from training.experts.fitting.losses import Weights
from training.experts.fitting.run import (
    CHECKPOINT,
    CURVE,
    MODEL,
    PLOT,
    TERMS,
    FitRun,
    fit_model,
    load_fitted,
    weights_digest,
)
from training.experts.resize import own_side
from training.experts.targets import Targets
from training.models.towers import build_model, zoo_names

pytestmark = pytest.mark.torch

SCHEDULE = FitSchedule(epochs=3, batch_size=4, warmup_steps=2, peak_lr=1e-2, checkpoint_steps=2)
CONFIG = FitConfig(
    backbone="small",
    sides=(16,),
    classes=CLASSES,
    seed=3,
    schedule=SCHEDULE,
    augmentation=Augmentation(scale=(0.8, 1.0), shift=0.0),
)
ALONE = Weights(classes=0.0, depth=0.0, normals=0.0)
OFF = {"clip": 0.0, "classes": 0.0, "depth": 0.0, "normals": 0.0}
ROWS = np.arange(4)


def _feed(targets: Targets | None = None) -> PairsFeed:
    made = pairs()
    return PairsFeed(made, pictured_targets(made.images) if targets is None else targets, CONFIG.augmentation)


def _state(config: FitConfig = CONFIG) -> FitState:
    return start_fit(small_clip(), config)


def _terms(config: FitConfig, feed: PairsFeed | None = None) -> set[str]:
    batch = (feed or _feed()).batch(ROWS, side=16, seed=0, step=0)
    return set(batch_terms(_state(config), batch, config))


def _losses(folder: Path) -> list[tuple[float, float, float]]:
    return [(row["step"], row["loss"], row["lr"]) for row in read_curve(folder / CURVE)]


def _terms_file(folder: Path) -> list[dict[str, str]]:
    with (folder / TERMS).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experts") / "whole"
    fit_model(small_clip(), _feed(), CONFIG, folder)
    return folder


def test_defaults_are_those_of_table_7() -> None:
    schedule = FitSchedule()
    assert (schedule.epochs, schedule.batch_size, schedule.warmup_steps) == (30, 32, 1000)
    assert (schedule.first_lr, schedule.peak_lr, schedule.last_lr) == (1e-6, 3e-5, 1e-6)


def test_the_rate_rises_in_a_line_and_falls_by_a_cosine_to_its_last() -> None:
    schedule = FitSchedule()
    rates = [schedule.rate(step, 10_001) for step in (0, 500, 1000, 5500, 10_000)]
    assert rates == pytest.approx([1e-6, 1.55e-5, 3e-5, 1.55e-5, 1e-6])
    assert schedule.rate(0, 1) == schedule.peak_lr  # a run of one step learns


def test_every_expert_and_the_captions_have_their_term() -> None:
    assert _terms(CONFIG) == {"clip", "classes", "depth", "normals"}


@pytest.mark.parametrize("name", ["clip", "classes", "depth", "normals"])
def test_terms_are_switched_off_one_by_one(name: str) -> None:
    config = replace(CONFIG, weights=replace(Weights(), **{name: 0.0}))
    assert _terms(config) == {"clip", "classes", "depth", "normals"} - {name}
    heads = _state(config).heads
    assert heads is not None
    assert name not in heads.heads


def test_without_experts_there_are_no_heads_and_captions_alone_teach() -> None:
    config = replace(CONFIG, weights=ALONE)
    assert _state(config).heads is None
    assert _terms(config) == {"clip"}


def test_an_expert_without_targets_has_no_term() -> None:
    made = pictured_targets(pairs().images)
    assert _terms(CONFIG, _feed(made.only(classes=True, depth=False, normals=False))) == {"clip", "classes"}
    assert _terms(CONFIG, _feed(Targets())) == {"clip"}


def test_a_loss_without_any_term_is_refused() -> None:
    config = replace(CONFIG, weights=Weights(clip=0.0))
    with pytest.raises(ExpertError, match="no term of the loss is left"):
        _terms(config, _feed(Targets()))


@pytest.mark.parametrize("task", ["classes", "depth", "normals"])
def test_every_expert_alone_reaches_the_image_tower_and_leaves_the_text_tower(task: str) -> None:
    config = replace(CONFIG, weights=Weights(**(OFF | {task: 1.0})))
    state = _state(config)
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    take_step(state, _feed().batch(ROWS, side=16, seed=0, step=0), 1e-3, config)
    changed = {name for name, value in state.model.state_dict().items() if not torch.equal(before[name], value)}
    assert {"visual.conv1.weight", "visual.positional_embedding", "visual.ln_post.weight"} <= changed
    assert all(name.startswith("visual.") for name in changed)
    assert "visual.proj" not in changed  # what follows the map belongs to the captions


def test_one_step_without_experts_is_the_same_step_whatever_targets_there_are() -> None:
    config = replace(CONFIG, weights=ALONE)
    weights = []
    for feed in (_feed(), _feed(Targets())):
        state = _state(config)
        take_step(state, feed.batch(ROWS, side=16, seed=0, step=0), 1e-3, config)
        weights.append(state.model.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_heads_take_no_part_of_the_norm_that_towers_are_clipped_to() -> None:
    """Else a tower with experts would take shorter steps than the one that it is compared with."""
    config = replace(CONFIG, schedule=replace(SCHEDULE, grad_norm=1e-3))
    state = _state(config)
    take_step(state, _feed().batch(ROWS, side=16, seed=0, step=0), 1e-3, config)
    assert state.heads is not None
    for module in (state.model, state.heads):
        norms = [value.grad.norm() for value in module.parameters() if value.grad is not None]
        assert torch.stack(norms).norm().item() == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("name", ["vit-s", "resnet-l"])
def test_embeddings_do_not_decay_and_kernels_of_patches_do(name: str) -> None:
    model = build_model(name)
    decaying, kept = make_optimizer(model, None, SCHEDULE).param_groups
    names = {id(value): key for key, value in model.named_parameters()}
    assert (decaying["weight_decay"], kept["weight_decay"]) == (SCHEDULE.weight_decay, 0.0)
    still = {names[id(value)] for value in kept["params"]}
    assert {"token_embedding.weight", "positional_embedding", "logit_scale"} <= {
        each.removeprefix("text.") for each in still
    }
    assert not {each for each in still if each.endswith(("proj.weight", "conv.weight"))}


def test_the_loss_of_every_term_falls() -> None:
    config = replace(CONFIG, schedule=replace(SCHEDULE, epochs=40, batch_size=6, peak_lr=3e-3))
    heard: list[Taken] = []

    def hear(_: FitState, taken: Taken) -> bool:
        heard.append(taken)
        return True

    fit(_state(config), _feed(), config, hear)
    assert len(heard) == 80
    for name in ("clip", "classes", "depth", "normals"):
        first, last = (sum(taken.terms[name] for taken in part) / 8 for part in (heard[:8], heard[-8:]))
        assert last < 0.8 * first, name
    weighed = heard[0].terms
    expected = weighed["clip"] + 0.1 * weighed["classes"] + weighed["depth"] + weighed["normals"]
    assert heard[0].loss == pytest.approx(expected, rel=1e-5)


def test_heavy_heads_class_weights_and_other_sizes_go_through_the_same_loop() -> None:
    config = replace(CONFIG, layers=3, width=8, class_weights=(0.5, 1.0, 2.0), sides=(16, 24), depth_form="unit")
    config = replace(config, schedule=replace(SCHEDULE, epochs=4))
    state = _state(config)
    fit(state, _feed(), config, lambda *_: True)
    assert {side_of(config, step) for step in range(state.step)} == {16, 24}


def test_convolutional_towers_learn_by_the_same_loop() -> None:
    torch.manual_seed(0)
    vision = CLIPVisionCfg(layers=(1, 1, 1, 1), width=8, head_width=16, image_size=32)
    model = CLIP(EMBEDDING, vision, CLIPTextCfg(**TEXT))
    config = replace(CONFIG, sides=(32, 64), schedule=replace(SCHEDULE, epochs=1))
    state = start_fit(model, config)
    before = model.visual.layer4[0].conv1.weight.detach().clone()
    fit(state, _feed(), config, lambda *_: True)
    assert state.step == 3
    assert not torch.equal(before, model.visual.layer4[0].conv1.weight)


@pytest.mark.parametrize("name", zoo_names())
def test_every_tower_of_the_zoo_is_trained_in_all_its_parts(name: str) -> None:
    model = build_model(name)
    side = own_side(model.visual)
    config = replace(CONFIG, sides=(side,))
    made = pairs()
    ids = torch.nn.functional.pad(made.ids, (0, model.context_length - made.ids.shape[1]))
    feed = PairsFeed(replace(made, ids=ids), pictured_targets(made.images), CONFIG.augmentation)
    state = start_fit(model, config)
    before = {name: value.clone() for name, value in model.visual.state_dict().items()}
    # Two steps: residual branches whose last gain starts at zero learn from the second one on.
    taken = [take_step(state, feed.batch(ROWS, side=side, seed=0, step=step), 1e-3, config) for step in range(2)]
    assert set(taken[0].terms) == {"clip", "classes", "depth", "normals"}
    trained = [name for name, _ in model.visual.named_parameters()]
    still = [name for name in trained if torch.equal(before[name], model.visual.state_dict()[name])]
    assert still == []


def test_a_fit_leaves_the_model_its_curve_and_its_terms(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {CHECKPOINT, MODEL, CURVE, TERMS, PLOT}
    weights, config, metadata = load_fitted(finished)
    assert config == CONFIG
    assert metadata["step"] == len(_losses(finished)) == len(_terms_file(finished)) == 9
    assert {name: value.shape for name, value in weights.items()} == {
        name: value.shape for name, value in small_clip().state_dict().items()
    }
    assert set(_terms_file(finished)[0]) == {"step", "clip", "classes", "depth", "normals"}


def test_heads_are_dropped_and_what_is_left_loads_into_a_plain_model(finished: Path) -> None:
    tensors, _ = load_tensors(finished / MODEL)
    assert not any("heads" in name for name in tensors)
    checkpoint, _ = load_tensors(finished / CHECKPOINT)
    assert any(name.startswith("heads.") for name in checkpoint)
    model = small_clip(seed=8).eval()
    model.load_state_dict(load_fitted(finished)[0], strict=True)
    assert model.encode_image(pictures()).shape == (3, EMBEDDING)


def test_a_resumed_fit_has_the_losses_and_the_weights_of_an_uninterrupted_one(finished: Path, tmp_path: Path) -> None:
    assert fit_model(small_clip(), _feed(), CONFIG, tmp_path, stop_at=5).state.step == 5
    assert not (tmp_path / MODEL).exists()
    fit_model(small_clip(), _feed(), CONFIG, tmp_path)
    assert _losses(tmp_path) == _losses(finished)
    assert _terms_file(tmp_path) == _terms_file(finished)
    expected, found = load_fitted(finished)[0], load_fitted(tmp_path)[0]
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_steps_after_the_last_checkpoint_are_taken_again(finished: Path, tmp_path: Path) -> None:
    fit_model(small_clip(), _feed(), CONFIG, tmp_path, stop_at=4)
    with (tmp_path / CURVE).open("a") as curve, (tmp_path / TERMS).open("a") as terms:  # written before it was killed
        curve.write("4,1.0,1.0,1.0,1.0\n5,1.0")
        terms.write("4,1.0,1.0,1.0,1.0\n5,1.0")
    fit_model(small_clip(), _feed(), CONFIG, tmp_path)
    assert _losses(tmp_path) == _losses(finished)
    assert _terms_file(tmp_path) == _terms_file(finished)


def test_a_finished_fit_is_not_fitted_again(finished: Path) -> None:
    before = (finished / CURVE).read_text()
    run = fit_model(small_clip(), _feed(), CONFIG, finished)
    assert run.state.step == run.total
    assert (finished / CURVE).read_text() == before


def test_a_folder_with_another_fit_or_another_start_is_refused(finished: Path) -> None:
    with pytest.raises(CheckpointError, match="belongs to another fit"):
        fit_model(small_clip(), _feed(), replace(CONFIG, seed=4), finished)
    with pytest.raises(CheckpointError, match="belongs to another fit"):
        fit_model(small_clip(seed=1), _feed(), CONFIG, finished)


def test_another_name_of_the_start_or_more_checkpoints_make_no_other_fit(tmp_path: Path) -> None:
    fit_model(small_clip(), _feed(), CONFIG, tmp_path, stop_at=2)
    schedule = replace(CONFIG.schedule, checkpoint_steps=CONFIG.schedule.checkpoint_steps + 1)
    other = replace(CONFIG, backbone=f"./{CONFIG.backbone}", schedule=schedule)
    run = fit_model(small_clip(), _feed(), other, tmp_path)
    assert run.state.step == run.total
    assert load_fitted(tmp_path)[1] == other


def test_a_folder_without_a_finished_fit_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not finished, or there is none"):
        load_fitted(tmp_path)


def test_a_lost_loss_ends_the_fit_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    model, feed = small_clip(), _feed()
    fit_model(model, feed, CONFIG, tmp_path, stop_at=2)
    kept = (tmp_path / CHECKPOINT).read_bytes()
    with torch.no_grad():
        model.visual.ln_post.weight.fill_(math.nan)
    run = FitRun(CONFIG, tmp_path / "other", start_fit(model, CONFIG), weights_digest(model), len(feed))
    with pytest.raises(FloatingPointError, match="small: the loss is nan at step 0"):
        run.run(feed)
    assert (tmp_path / CHECKPOINT).read_bytes() == kept
    assert not (tmp_path / "other" / CHECKPOINT).exists()


def test_progress_is_told(tmp_path: Path) -> None:
    lines: list[str] = []
    fit_model(small_clip(), _feed(), replace(CONFIG, weights=ALONE), tmp_path, show=lines.append)
    assert lines[-1].startswith("step 9 of 9, loss ")
    assert {row["depth"] for row in _terms_file(tmp_path)} == {""}


def test_a_configuration_survives_json() -> None:
    config = replace(CONFIG, class_weights=(1.0, 2.0, 3.0), sides=(16, 24), layers=3)
    assert parse_fit_config(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    "change",
    [
        {"weights": {"clip": -1.0}},
        {"weights": {"depths": 1.0}},
        {"schedule": {"epochs": 0}},
        {"schedule": {"peak_lr": 0.0}},
        {"sides": []},
        {"classes": 1},
        {"class_weights": [1.0]},
        {"layers": 2},
        {"depth_form": "log"},
        {"unknown": 1},
    ],
)
def test_what_is_no_configuration_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        parse_fit_config(CONFIG.to_dict() | change)


def test_sizes_that_a_tower_does_not_take_are_refused_before_anything_happens() -> None:
    with pytest.raises(ExpertError, match="multiple of 4 pixels, not 18"):
        _state(replace(CONFIG, sides=(16, 18)))
