"""Fitting adapters."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from training.adapters import AdapterError, attach, design
from training.adapters.adapt import FitState, fit, make_optimizer, step_loss
from training.adapters.adapt_config import AdaptConfig, AdaptSchedule, parse_adapt_config
from training.adapters.command import ADAPTER, CHECKPOINT, CURVE, PLOT, AdaptRun, adapt_backbone, load_fitted
from training.adapters.pack import load_pack
from training.adapters.pairs import Pairs, pairs_of_pack
from training.checkpoint import CheckpointError
from training.config import ConfigError
from training.curve import read_curve
from training.evaluate.adapters.bench import frozen_backbone

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def config(small_run: Path) -> AdaptConfig:
    schedule = AdaptSchedule(epochs=3, batch_size=8, peak_lr=1e-2, checkpoint_steps=2)
    small = design("msa-lo", rank=2)
    return AdaptConfig(backbone=str(small_run), design=small, sources=("clothing",), seed=3, schedule=schedule)


@pytest.fixture(scope="module")
def pairs(packed: Path) -> Pairs:
    pack = load_pack(packed)
    return pairs_of_pack(pack, pack.decoded(), "fit", ("clothing",), CPU)


def _fit(config: AdaptConfig, data: Path, folder: Path, stop_at: int | None = None) -> AdaptRun:
    return adapt_backbone(config, data, folder, device=CPU, stop_at=stop_at)


@pytest.fixture(scope="module")
def finished(config: AdaptConfig, small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fit") / "whole"
    _fit(config, small_data, folder)
    return folder


def _losses(folder: Path) -> list[tuple[float, float, float]]:
    return [(row["step"], row["loss"], row["lr"]) for row in read_curve(folder / CURVE)]


def test_a_fit_leaves_the_adapter_alone_its_curve_and_a_plot(finished: Path, config: AdaptConfig) -> None:
    assert {CHECKPOINT, ADAPTER, CURVE, PLOT} == {path.name for path in finished.iterdir()}
    state, what, again = load_fitted(finished)
    assert (what, again) == (config.design, config)
    assert sum(value.numel() for value in state.values()) < 40_000
    assert [row[0] for row in _losses(finished)] == list(range(len(_losses(finished))))


def test_a_resumed_fit_has_the_losses_and_the_weights_of_an_uninterrupted_one(
    config: AdaptConfig, small_data: Path, finished: Path, tmp_path: Path
) -> None:
    assert _fit(config, small_data, tmp_path, stop_at=3).state.step == 3
    assert not (tmp_path / ADAPTER).exists()
    run = _fit(config, small_data, tmp_path)
    assert run.state.step == run.total == len(_losses(finished))
    assert _losses(tmp_path) == _losses(finished)
    expected, found = load_fitted(finished)[0], load_fitted(tmp_path)[0]
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_fit_that_was_killed_after_a_checkpoint_takes_its_later_steps_again(
    config: AdaptConfig, small_data: Path, finished: Path, tmp_path: Path
) -> None:
    _fit(config, small_data, tmp_path, stop_at=2)
    with (tmp_path / CURVE).open("a") as file:  # what it wrote before it was killed
        file.write("2,1.0,1.0,1.0,1.0\n3,1.0")
    _fit(config, small_data, tmp_path)
    assert _losses(tmp_path) == _losses(finished)


def test_a_folder_with_another_fit_is_refused(config: AdaptConfig, small_data: Path, finished: Path) -> None:
    with pytest.raises(CheckpointError, match="belongs to another fit"):
        _fit(replace(config, seed=4), small_data, finished)


def test_a_fit_of_nothing_is_refused(config: AdaptConfig, small_data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to fit"):
        _fit(replace(config, design=design("zero-shot")), small_data, tmp_path)


def test_the_backbone_stays_as_it_was_and_the_adapter_does_not(packed: Path, pairs: Pairs, config: AdaptConfig) -> None:
    clip = frozen_backbone(load_pack(packed), CPU)
    adapted = attach(clip, config.design, seed=0)
    before = {name: value.clone() for name, value in adapted.adapter_state().items()}
    digest = adapted.frozen_digest()
    fit(FitState(adapted, make_optimizer(adapted, config.schedule)), pairs, config, lambda *_: True)
    assert adapted.frozen_digest() == digest
    after = adapted.adapter_state()
    assert all(not torch.equal(before[name], after[name]) for name in before)


def test_the_loss_of_what_is_fitted_falls(packed: Path, pairs: Pairs, config: AdaptConfig) -> None:
    adapted = attach(frozen_backbone(load_pack(packed), CPU), design("both-bottleneck", width=8), seed=0)
    state = FitState(adapted, make_optimizer(adapted, config.schedule))
    rows = np.arange(len(pairs))
    colours = {"apple": (250, 20, 20), "bear": (20, 250, 20), "chair": (20, 20, 250)}
    painted = torch.tensor([colours[str(label)] for label in pairs.labels], dtype=torch.uint8)
    pairs = replace(pairs, images=painted[:, None, None].expand_as(pairs.images).contiguous())
    before = step_loss(state, pairs, rows, config).item()
    longer = replace(config, schedule=replace(config.schedule, epochs=12))
    fit(state, pairs, longer, lambda *_: True)
    state.step = 0
    assert step_loss(state, pairs, rows, config).item() < before - 0.2


def test_a_lost_loss_ends_the_fit(packed: Path, pairs: Pairs, config: AdaptConfig) -> None:
    adapted = attach(frozen_backbone(load_pack(packed), CPU), config.design, seed=0)
    with torch.no_grad():
        adapted.adapter_parameters()[0].fill_(math.nan)
    with pytest.raises(FloatingPointError, match="at step 0"):
        fit(FitState(adapted, make_optimizer(adapted, config.schedule)), pairs, config, lambda *_: True)


def test_a_configuration_survives_json(config: AdaptConfig) -> None:
    assert parse_adapt_config(config.to_dict()) == config


@pytest.mark.parametrize(
    "change", [{"design": {"name": "x"}}, {"schedule": {"epochs": 0}}, {"sources": None}, {"unknown": 1}]
)
def test_what_is_no_configuration_is_refused(config: AdaptConfig, change: dict[str, object]) -> None:
    with pytest.raises((ConfigError, AdapterError)):
        parse_adapt_config(config.to_dict() | change)


def test_a_set_smaller_than_a_batch_is_one_batch() -> None:
    assert AdaptSchedule(epochs=5).steps(72) == (1, 5)
    assert AdaptSchedule(epochs=5).steps(4017) == (15, 75)
