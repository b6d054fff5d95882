"""Counts by formula, by module, and as the document says them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.unit.training.adapters.small_clip import small_clip
from training.adapters import DESIGNS, attach, design
from training.adapters.attach import TOWERS, shape_of
from training.adapters.counting import (
    PAPER_BACKBONES,
    added_by_formula,
    backbone_shape,
    meta_clip,
    ratio_table,
    share_of,
    square_units,
)

pytestmark = pytest.mark.torch

DOCUMENT = Path(__file__).parents[4] / "docs" / "adapters.md"


@pytest.mark.parametrize("changes", [{}, {"factors": "separate", "rank": 3}, {"n": 4}], ids=str)
@pytest.mark.parametrize("name", DESIGNS)
def test_formulas_count_what_the_modules_hold(name: str, changes: dict[str, object]) -> None:
    clip, chosen = small_clip(), design(name, **changes)
    added = attach(clip, chosen, seed=0).added()
    for tower in TOWERS:
        expected = added_by_formula(chosen, shape_of(clip, tower)) if chosen.towers in ("both", tower) else 0
        assert added[tower] == expected


@pytest.mark.parametrize("backbone", PAPER_BACKBONES)
@pytest.mark.parametrize("name", ["bottleneck-ensemble", "both-pyramid", "msa", "msa-lo", "on-top", "clip-adapter"])
def test_formulas_hold_for_the_paper_s_backbones(backbone: str, name: str) -> None:
    shape, adapted = backbone_shape(backbone), attach(meta_clip(backbone), design(name), seed=0)
    assert {parameter.device for parameter in adapted.parameters()} == {torch.device("meta")}
    assert adapted.share() == pytest.approx(share_of(design(name), shape))
    for tower in TOWERS:
        assert adapted.added()[tower] == added_by_formula(design(name), shape.towers[tower])


def test_the_backbones_are_as_large_as_they_are() -> None:
    shape = backbone_shape("ViT-B-16")
    assert shape.total == 149_620_737
    assert shape.parameters == {"vision": 86_192_640, "language": 63_428_096}
    assert (shape.towers["vision"].grid, shape.towers["language"].context_length) == ((14, 14), 77)


def test_units_cost_the_same_in_every_design_of_section_2() -> None:
    """N d d per block and place, or all of it on top: what makes figure 1 a fair comparison."""
    shape = backbone_shape("ViT-B-16").towers["vision"]
    designs = [design(name, n=4) for name in ("att-pyramid", "att-rb", "att-mlp", "ffn-pyramid", "on-top")]
    assert {added_by_formula(each, shape) for each in designs} == {12 * 4 * 768 * 768}


def test_low_rank_scales_stay_below_a_twentieth_of_the_backbone() -> None:
    for backbone in PAPER_BACKBONES:
        assert share_of(design("msa-lo"), backbone_shape(backbone)) < 0.05


def test_the_document_says_what_the_code_counts() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert ratio_table() in text
    units = square_units(74.7, 2, backbone_shape("ViT-B-16"))
    assert f"{units:.1f} matrices" in text
