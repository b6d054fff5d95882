"""Training an expert: it learns, goes on where it was killed, and takes no other's folder."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.training.experts.made_up_scenes import COUNT, tiny_config
from training.checkpoint import CheckpointError, load_tensors
from training.config import ConfigError
from training.data.augment import Augmentation
from training.experts.errors import ExpertError
from training.experts.fitting.terms import read_terms
from training.experts.locks import alone
from training.experts.nets.config import NetSchedule, parse_net_config
from training.experts.nets.data import DenseSet, Look, load_dense_set
from training.experts.nets.fit import CHECKPOINT, CURVE, PLOT, WEIGHTS, NetRun, new_net
from training.experts.nets.tasks import Task

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def dense(drawn: Path) -> DenseSet:
    return load_dense_set([drawn], "drawn", Task.CLASSES)


def losses(folder: Path, task: Task) -> list[float]:
    return [value for _, value in read_terms(folder / CURVE)[str(task)]]


@pytest.mark.parametrize("task", list(Task))
def test_it_learns_a_few_scenes(task: Task, drawn: Path, tmp_path: Path) -> None:
    dense = load_dense_set([drawn], "drawn", task)
    config = tiny_config(dense, epochs=10)
    NetRun(config, tmp_path).run(dense)
    found = losses(tmp_path, task)
    assert len(found) == config.schedule.steps(COUNT)[1] == 30
    assert np.mean(found[-3:]) < np.mean(found[:3]) - 0.1
    assert (tmp_path / PLOT).is_file()
    weights, metadata = load_tensors(tmp_path / WEIGHTS)
    assert {value.dtype for value in weights.values()} == {torch.float16}
    assert parse_net_config(metadata["config"]) == config
    assert metadata["labels"]["pictures"] == COUNT


def test_an_interrupted_training_ends_as_an_undisturbed_one(dense: DenseSet, tmp_path: Path) -> None:
    config = replace(tiny_config(dense), augmentation=Augmentation(), look=Look())
    NetRun(config, tmp_path / "whole").run(dense)
    for stop in (2, 4, None):
        NetRun(config, tmp_path / "cut", stop_at=stop).run(dense)
        assert (tmp_path / "cut" / WEIGHTS).exists() is (stop is None)
    assert losses(tmp_path / "cut", Task.CLASSES) == losses(tmp_path / "whole", Task.CLASSES)
    whole, cut = (load_tensors(tmp_path / name / WEIGHTS)[0] for name in ("whole", "cut"))
    assert all(torch.equal(value, cut[name]) for name, value in whole.items())


def test_what_was_written_after_the_last_checkpoint_is_done_again(dense: DenseSet, tmp_path: Path) -> None:
    config = tiny_config(dense)
    NetRun(config, tmp_path, stop_at=2).run(dense)
    with (tmp_path / CURVE).open("a", encoding="utf-8") as curve:
        curve.write("2,,9.0,,\n3,,9.0,,\n4,,")
    NetRun(config, tmp_path).run(dense)
    assert len(losses(tmp_path, Task.CLASSES)) == 6
    assert 9.0 not in losses(tmp_path, Task.CLASSES)


def test_a_finished_training_is_not_made_again(dense: DenseSet, tmp_path: Path) -> None:
    NetRun(tiny_config(dense), tmp_path).run(dense)
    before = (tmp_path / CHECKPOINT).stat().st_mtime_ns
    again = NetRun(tiny_config(dense), tmp_path)
    again.run(dense)
    assert again.step == 6
    assert (tmp_path / CHECKPOINT).stat().st_mtime_ns == before


def test_a_folder_of_another_training_is_refused(dense: DenseSet, drawn: Path, tmp_path: Path) -> None:
    config = tiny_config(dense)
    NetRun(config, tmp_path, stop_at=1).run(dense)
    with pytest.raises(CheckpointError, match="belongs to another training"):
        NetRun(replace(config, seed=1), tmp_path).run(dense)
    with pytest.raises(CheckpointError, match="belongs to another training"):
        NetRun(config, tmp_path).run(load_dense_set([drawn], "kept", Task.CLASSES))


def test_two_trainings_do_not_write_into_one_folder(dense: DenseSet, tmp_path: Path) -> None:
    with alone(tmp_path, "held"), pytest.raises(ExpertError, match="another process trains here"):
        NetRun(tiny_config(dense), tmp_path).run(dense)


@pytest.mark.parametrize("rate", [math.nan, math.inf, 0.0])
def test_a_rate_that_is_no_number_to_learn_by_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="peak_lr > 0"):
        NetSchedule(peak_lr=rate)


def test_a_loss_that_is_lost_ends_the_training_before_it_does_harm(dense: DenseSet, tmp_path: Path) -> None:
    run = NetRun(tiny_config(dense), tmp_path)
    with torch.no_grad():
        run.net.head.weight.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="the loss is nan at step 0"):
        run.run(dense)
    assert not (tmp_path / CHECKPOINT).exists()


def test_equal_seeds_give_equal_networks_and_others_do_not(dense: DenseSet) -> None:
    config = tiny_config(dense)
    first, again, other = new_net(config), new_net(config), new_net(replace(config, seed=1))
    assert torch.equal(first.head.weight, again.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)


def test_the_rate_rises_and_falls() -> None:
    schedule = NetSchedule(warmup_steps=4, peak_lr=1.0)
    rates = [schedule.rate(step, 40) for step in range(40)]
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert 0 < rates[-1] < 0.02
    assert schedule.rate(0, 8) == 0.5


def test_configurations_come_back_from_json(dense: DenseSet) -> None:
    config = tiny_config(dense)
    assert parse_net_config(config.to_dict()) == config
    wrong: list[dict[str, Any]] = [
        {"task": "smell"},
        {"side": 33},
        {"classes": []},
        {"schedule": {"epochs": 0}},
        {"odd": 1},
    ]
    for broken in wrong:
        with pytest.raises(ConfigError):
            parse_net_config({**config.to_dict(), **broken})
    with pytest.raises(ConfigError, match="peak_lr > 0"):
        NetSchedule(peak_lr=0)
