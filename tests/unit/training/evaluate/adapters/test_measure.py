"""What an adapted CLIP finds and names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.adapters import attach, design
from training.adapters.adapt import embed_pictures, embed_texts
from training.adapters.pack import load_pack
from training.adapters.pairs import make_pairs, pair_losses
from training.evaluate.adapters.bench import frozen_backbone
from training.evaluate.adapters.measure import accuracy, measure, open_tested, pair_loss, recall

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")


def test_any_match_is_a_hit_and_ties_count_against_the_query() -> None:
    scores = torch.tensor([[0.9, 0.8, 0.1], [0.9, 0.9, 0.1], [0.3, 0.2, 0.1]])
    owns = torch.tensor([[False, True, True], [True, False, False], [True, True, False]])
    found = recall(scores, owns, "text")
    # One that stands first, beside one that is beaten and one that only draws.
    assert found["text R@1"] == pytest.approx(1 / 3)
    assert found["text R@5"] == 1


def test_an_embedding_of_one_point_finds_nothing() -> None:
    found = recall(torch.ones(20, 20), torch.eye(20, dtype=torch.bool), "image")
    assert found == {"image R@1": 0, "image R@5": 0, "image R@10": 0}


def test_balanced_accuracy_is_the_same_for_every_class() -> None:
    prompts = torch.eye(2)
    pictures = torch.tensor([[1.0, 0.0]] * 4)
    found = accuracy(pictures, prompts, torch.tensor([0, 1]), torch.tensor([0, 0, 0, 1]))
    assert found == {"top1": 0.75, "balanced": 0.5}


def test_prompts_of_a_class_are_averaged() -> None:
    prompts = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    pictures = torch.tensor([[0.7, 0.7], [-0.9, 0.1]])
    assert accuracy(pictures, prompts, torch.tensor([0, 0, 1]), torch.tensor([0, 1]))["top1"] == 1


def test_a_source_is_measured_by_every_metric_that_it_has(packed: Path) -> None:
    pack = load_pack(packed)
    adapted = attach(frozen_backbone(pack, CPU), design("zero-shot"), seed=0)
    pixels = pack.decoded()
    recalls = {f"{kind} R@{k}" for kind in ("text", "image") for k in (1, 5, 10)}
    named = measure(adapted, open_tested(pack, pixels, "clothing", CPU))
    assert named.keys() == recalls | {"top1", "balanced"}
    tested = open_tested(pack, pixels, "scenes", CPU)
    assert measure(adapted, tested).keys() == recalls
    # Two captions for each of its pictures, each of which is one picture's alone.
    assert tested.owns.sum(dim=1).tolist() == [2] * len(tested.pairs)
    assert tested.owns.sum(dim=0).tolist() == [1] * (2 * len(tested.pairs))


def test_a_source_of_many_pictures_has_no_more_say_in_the_loss_than_one_of_few(packed: Path) -> None:
    pack = load_pack(packed)
    adapted = attach(frozen_backbone(pack, CPU), design("zero-shot"), seed=0)
    pictures, texts = pack.decoded()[:4], [(f"picture {place}",) for place in range(4)]
    pairs = make_pairs(pictures, texts, [None] * 4, ["few", "many", "many", "many"], pack.tokenizer, CPU)
    with torch.inference_mode():
        image, text = embed_pictures(adapted, pairs.images), embed_texts(adapted, pairs.ids)
        each = pair_losses(image, text, adapted.logit_scale.exp(), torch.eye(4, dtype=torch.bool))
    assert pair_loss(adapted, pairs) == pytest.approx(float(each[0] + each[1:].mean()) / 2, rel=1e-4)
    assert pair_loss(adapted, pairs) != pytest.approx(float(each.mean()), rel=1e-4)
