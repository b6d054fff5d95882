"""Figure 6, on small embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from training.adapters import attach, design
from training.adapters.pack import load_pack
from training.evaluate.adapters.branches import branches, measure_branches
from training.evaluate.adapters.features import cloud, measure_features
from training.evaluate.adapters.grouping import source_facts
from training.evaluate.adapters.report import SourceFacts
from training.models.towers import build_model

pytestmark = pytest.mark.torch


def _unit(rows: list[list[float]]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    values = np.array(rows)
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True))


def test_a_cloud_tells_how_close_pictures_and_captions_are() -> None:
    pictures, captions = _unit([[1, 0, 0.1], [1, 0.2, 0]]), _unit([[0, 1, 0.1], [0, 1, -0.1]])
    apart = cloud("apart", pictures, captions)
    assert apart.cosine < 0.2
    assert apart.gap == pytest.approx(np.linalg.norm(pictures.mean(axis=0) - captions.mean(axis=0)))
    together = cloud("together", pictures, pictures)
    assert together.cosine == pytest.approx(1)
    assert together.gap == 0
    assert together.pictures == together.captions


def test_the_first_axis_lies_where_points_differ_most() -> None:
    points = _unit([[1, 0.0, 0.01], [0.0, 1, 0.01], [1, 0.01, 0], [0.01, 1, 0]])
    found = cloud("all", points, points)
    assert np.var([x for x, _ in found.pictures]) > 10 * np.var([y for _, y in found.pictures])


def test_kept_adapters_are_drawn_beside_the_frozen_backbone(packed: Path) -> None:
    pack = load_pack(packed)
    facts = source_facts(pack)
    searched = facts | {"clothing": SourceFacts(facts["clothing"].pictures, 1000, 2)}
    state = attach(build_model("vit-s"), design("msa-lo"), seed=0).adapter_state()
    found = measure_features(pack, {"msa-lo": state}, searched)
    assert found is not None
    assert (found.source, [each.label for each in found.clouds]) == ("clothing", ["zero-shot", "msa-lo"])
    # It starts as the backbone itself.
    assert found.clouds[0].cosine == pytest.approx(found.clouds[1].cosine, abs=1e-4)
    assert len(found.clouds[0].pictures) == facts["clothing"].pictures
    assert measure_features(pack, {}, searched) is None
    assert measure_features(pack, {"msa-lo": state}, {}) is None


def test_scales_that_say_different_things_are_neighbours_of_themselves() -> None:
    generator = np.random.default_rng(0)
    apart = branches(generator.normal(size=(3, 20, 8)) + 20 * np.eye(3, 8)[:, None])
    assert set(apart.together.values()) == {1.0}
    assert apart.explained > 0.9
    same = branches(np.repeat(generator.normal(size=(1, 40, 8)), 3, axis=0) + 1e-3 * generator.normal(size=(3, 40, 8)))
    assert max(same.together.values()) < 0.2  # the nearest is the same picture at another scale


def test_the_scales_of_an_adapted_image_tower_are_told_apart(packed: Path) -> None:
    pack = load_pack(packed)
    images = torch.tensor(pack.decoded()[:5])
    clip = build_model("vit-s")
    found = measure_branches(attach(clip, design("msa"), seed=0), images)
    assert found is not None
    assert {name: len(points) for name, points in found.points.items()} == {"large": 5, "middle": 5, "small": 5}
    for without in ("without-msa", "msa-language", "msa-lm"):
        assert measure_branches(attach(clip, design(without), seed=0), images) is None
