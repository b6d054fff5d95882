"""Experts trained here, behind the protocol."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.training.experts.made_up_scenes import SIDE, tiny_config
from training.checkpoint import save_tensors
from training.experts.errors import ExpertError
from training.experts.known import SCENE_EXPERTS, load_expert
from training.experts.nets.data import load_dense_set
from training.experts.nets.experts import NAMES, NetExpert, load_net_expert, read_weights
from training.experts.nets.fit import WEIGHTS, NetRun, new_net
from training.experts.nets.tasks import Task
from training.experts.protocol import Kind, check_maps
from training.experts.scenes import CLASSES

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def trained(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Task, Path]:
    """Folders of trainings of one step."""
    folders = {}
    for task in Task:
        dense = load_dense_set([drawn], "drawn", task)
        folders[task] = tmp_path_factory.mktemp(str(task))
        NetRun(tiny_config(dense, epochs=1), folders[task]).run(dense)
    return folders


def pictures(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("shape", [(2, SIDE, SIDE), (1, 50, 70), (1, 20, 20)])
def test_pictures_of_any_size_become_maps(trained: dict[Task, Path], task: Task, shape: tuple[int, int, int]) -> None:
    expert = load_expert(f"scene-{task}", "cpu", weights=trained[task])
    images = pictures(*shape)
    check_maps(expert(images), images, expert.identity)


def test_an_expert_says_what_it_is(trained: dict[Task, Path]) -> None:
    classes = load_net_expert("scene-classes", trained[Task.CLASSES]).identity
    assert (classes.name, classes.kind, classes.classes) == ("scene-classes", Kind.CLASSES, CLASSES)
    assert classes.version == f"drawn, {SIDE} pixels, 1 epochs, seed 0"
    assert load_net_expert("scene-depth", trained[Task.DEPTH]).identity.kind is Kind.DISPARITY
    assert load_net_expert("scene-normals", trained[Task.NORMALS]).identity.kind is Kind.NORMALS
    assert len({load_net_expert(f"scene-{task}", trained[task]).identity.digest for task in Task}) == 3


def test_the_digest_is_that_of_the_weights(trained: dict[Task, Path]) -> None:
    config, tensors, _ = read_weights(trained[Task.DEPTH])
    first, again = NetExpert(config, tensors), NetExpert(config, tensors)
    changed = NetExpert(config, {**tensors, "head.bias": tensors["head.bias"] + 1})
    assert first.identity.digest == again.identity.digest != changed.identity.digest


def test_an_answer_does_not_depend_on_the_neighbours(trained: dict[Task, Path]) -> None:
    expert = load_net_expert("scene-depth", trained[Task.DEPTH])
    images = pictures(5, SIDE, SIDE)
    assert np.allclose(expert(images)[3], expert(images[3:4])[0], atol=1e-5)


def test_half_precision_changes_next_to_nothing(trained: dict[Task, Path]) -> None:
    dense_config, tensors, _ = read_weights(trained[Task.NORMALS])
    net = new_net(dense_config)
    net.load_state_dict({name: value.float() for name, value in tensors.items()}, strict=False)
    images = pictures(1, SIDE, SIDE)
    with torch.no_grad():
        plain = Task.NORMALS.answer(net.eval()(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255))
    assert np.allclose(NetExpert(dense_config, tensors)(images), plain, atol=1e-4)


def test_names_are_known_and_belong_to_their_tasks(trained: dict[Task, Path]) -> None:
    assert tuple(NAMES) == SCENE_EXPERTS
    with pytest.raises(ExpertError, match="holds scene-depth, not scene-classes"):
        load_net_expert("scene-classes", trained[Task.DEPTH])


def test_what_is_missing_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ExpertError, match="the training in this folder is not finished, or there is none"):
        load_net_expert("scene-depth", tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"no weights")
    with pytest.raises(ExpertError, match="not the weights of an expert"):
        load_net_expert("scene-depth", tmp_path)


def test_weights_of_another_network_are_refused(trained: dict[Task, Path], tmp_path: Path) -> None:
    config, tensors, metadata = read_weights(trained[Task.DEPTH])
    with pytest.raises(ExpertError, match="weights of another network"):
        NetExpert(replace(config, shape=replace(config.shape, stem=8)), tensors)
    del tensors["head.bias"]
    save_tensors(tmp_path / WEIGHTS, tensors, metadata)
    with pytest.raises(ExpertError, match="weights of another network than that of scene-depth"):
        load_net_expert("scene-depth", tmp_path)
