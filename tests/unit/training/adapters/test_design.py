"""Designs by name and as values."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.adapters.design import DESIGNS, Design, design
from training.adapters.errors import AdapterError

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("name", DESIGNS)
def test_every_design_is_called_as_it_is_listed(name: str) -> None:
    assert design(name).name == name


@pytest.mark.parametrize("name", DESIGNS)
def test_a_design_comes_back_from_json(name: str) -> None:
    assert Design.from_dict(json.loads(json.dumps(design(name).to_dict()))) == design(name)


def test_a_design_is_read_from_toml() -> None:
    text = """
    name = "mine"
    kind = "msa-lo"
    scales = ["L", "S"]
    image_reach = [1, 0.5, 0.125]
    rank = 4
    """
    found = Design.from_dict(tomllib.loads(text))
    assert (found.scales, found.image_reach, found.rank) == (("L", "S"), (1.0, 0.5, 0.125), 4)
    assert found.where == "both"


@given(st.integers(1, 8), st.floats(0.01, 1), st.floats(0.01, 1), st.sampled_from(["literal", "minus_inf"]))
def test_overrides_survive_the_way_through_json(n: int, middle: float, small: float, mask: str) -> None:
    chosen = design("msa", n=n, image_reach=[1.0, middle, small], mask=mask)
    assert Design.from_dict(json.loads(json.dumps(chosen.to_dict()))) == chosen


def test_the_paper_s_numbers_are_the_defaults() -> None:
    assert design("msa").width == 128
    assert design("msa-lo").rank == 16
    assert design("msa-lo").factors == "shared"
    assert design("both-pyramid").n == 2
    assert design("msa").scales == ("L", "M", "S")
    assert {chosen.init_std for chosen in DESIGNS.values()} == {1e-3}


def test_ablations_differ_from_the_whole_in_what_they_leave_out() -> None:
    assert design("msa-ls").scales == ("L", "S")
    assert design("msa-vision").towers == "vision"
    assert design("without-msa").where == "feed-forward"
    assert design("msa", where="feed-forward", name="without-msa") == design("without-msa")


def test_scales_are_given_in_the_order_of_the_design() -> None:
    assert list(design("msa-ls", text_reach=[1, 0.5, 0.3]).reach("text").items()) == [("L", 1.0), ("S", 0.3)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "mlps"}, "kind: 'mlps' is not one of"),
        ({"where": "top"}, "msa cannot be added at 'top'"),
        ({"scales": ["M", "S"]}, "must be L with or without"),
        ({"scales": ["L", "L"]}, "must be L with or without"),
        ({"image_reach": [1, 0.5]}, "needs three shares"),
        ({"text_reach": [1, 0.5, 0]}, "needs three shares"),
        ({"text_reach": [0.5, 0.5, 0.1]}, "the large scale is the full matrix"),
        ({"rank": 0}, "at least 1"),
        ({"rank": True}, "rank: True has a wrong type"),
        ({"n": "2"}, "n: '2' has a wrong type"),
        ({"scales": "LMS"}, "scales: must be a list"),
        ({"image_reach": [1, "half", 0.1]}, "wrong type"),
        ({"init_std": -1.0}, "must not be negative"),
        ({"colour": "red"}, "unknown key colour"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(AdapterError, match=words):
        design("msa", **changes)


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(AdapterError, match=r"unknown design 'mas'; known: zero-shot"):
        design("mas")


def test_a_table_without_a_kind_is_refused() -> None:
    with pytest.raises(AdapterError, match="a design needs kind"):
        Design.from_dict({"name": "nothing"})
