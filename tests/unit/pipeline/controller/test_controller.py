"""How a controller weighs."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.pipeline.controller.controller import (
    LEAST_WEIGHT,
    Controller,
    Generic,
    committee_logits,
    positive,
    static_controller,
    weigh,
)
from service.pipeline.controller.opinions import OPINIONS
from service.pipeline.logits import Floats, mean_logit, softmax, unit_rows

NAMES = ("a", "b", "c")
WIDTHS = (4, 6, 8)


def numbers(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def some_generic() -> Generic:
    return Generic(numbers(5, OPINIONS), numbers(5), numbers(1, 5), numbers(1))


def some_controller(generic: Generic | None = None, *, any_subset: bool = True) -> Controller:
    w1, c1, w2, c2 = numbers(16, sum(WIDTHS)), numbers(16), numbers(3, 16), numbers(3)
    return Controller(NAMES, WIDTHS, w1, c1, w2, c2, generic, any_subset)


def some_votes(images: int = 7, classes: int = 5) -> tuple[list[Floats], Floats]:
    embeddings = [unit_rows(numbers(images, width, seed=width)) for width in WIDTHS]
    return embeddings, 5 * numbers(len(NAMES), images, classes, seed=9)


def test_an_unfitted_controller_is_exactly_the_logit_mean() -> None:
    embeddings, logits = some_votes()
    weights = weigh(static_controller(NAMES, WIDTHS), NAMES, embeddings, logits)
    assert weights.shape == (3, 7)
    assert np.allclose(weights, 1, atol=1e-6)
    assert np.allclose(softmax(committee_logits(weights, logits)), mean_logit(logits), atol=1e-6)


def test_weights_follow_the_papers_formula() -> None:
    controller, (embeddings, logits) = some_controller(), some_votes()
    x = np.concatenate(embeddings, axis=1).astype(np.float64)
    t = np.maximum(x @ controller.w1.T + controller.c1, 0) @ controller.w2.T + controller.c2
    expected = np.log1p(np.exp(t + np.log(np.e - 1)))
    assert np.allclose(weigh(controller, NAMES, embeddings, logits), expected.T, rtol=1e-4)


@pytest.mark.parametrize("generic", [None, some_generic()], ids=["image", "image and opinions"])
@pytest.mark.parametrize("there", [s for size in (1, 2) for s in combinations(range(3), size)])
def test_an_absent_backbone_counts_as_zero_in_the_input(generic: Generic | None, there: tuple[int, ...]) -> None:
    controller, (embeddings, logits) = some_controller(generic), some_votes()
    names = [NAMES[place] for place in there]
    weights = weigh(controller, names, [embeddings[place] for place in there], logits[list(there)])
    if generic is None:
        zeroed = [rows if place in there else np.zeros_like(rows) for place, rows in enumerate(embeddings)]
        assert np.allclose(weights, weigh(controller, NAMES, zeroed, logits)[list(there)], rtol=1e-5)
    else:
        without = weigh(replace(controller, generic=None), names, [embeddings[i] for i in there], logits[list(there)])
        assert not np.allclose(weights, without, rtol=1e-3)


@pytest.mark.parametrize("generic", [None, some_generic()], ids=["image", "image and opinions"])
def test_the_order_in_which_backbones_are_named_changes_nothing(generic: Generic | None) -> None:
    controller, (embeddings, logits) = some_controller(generic), some_votes()
    order = [2, 0, 1]
    turned = weigh(controller, [NAMES[i] for i in order], [embeddings[i] for i in order], logits[order])
    assert np.allclose(turned, weigh(controller, NAMES, embeddings, logits)[order], rtol=1e-5)


@pytest.mark.parametrize("generic", [None, some_generic()], ids=["image", "image and opinions"])
def test_an_image_is_weighed_alone_as_it_is_in_a_batch(generic: Generic | None) -> None:
    controller, (embeddings, logits) = some_controller(generic), some_votes()
    batch = weigh(controller, NAMES, embeddings, logits)
    for image in range(7):
        alone = weigh(controller, NAMES, [rows[image : image + 1] for rows in embeddings], logits[:, image : image + 1])
        assert np.allclose(alone[:, 0], batch[:, image], rtol=1e-5)


def test_a_generic_part_alone_weighs_any_zoo() -> None:
    generic = some_generic()
    logits = numbers(5, 3, 8)
    names = [f"backbone-{i}" for i in range(5)]
    weights = weigh(static_controller(names, [2] * 5, generic=generic), names, [numbers(3, 2)] * 5, logits)
    assert weights.shape == (5, 3)
    assert weights.std() > 0


@given(st.floats(-(2.0**100), 2.0**100, width=32))
def test_weights_are_positive_and_finite_whatever_the_network_says(t: float) -> None:
    weight = float(positive(np.array([t], dtype=np.float32))[0])
    assert np.isfinite(weight)
    assert weight >= np.float32(LEAST_WEIGHT)


def test_the_committees_logits_are_the_mean_over_those_that_answered() -> None:
    weights = np.array([[1.0], [3.0]], dtype=np.float32)
    logits = np.array([[[1.0, 2.0]], [[3.0, 0.0]]], dtype=np.float32)
    assert committee_logits(weights, logits).tolist() == [[5.0, 1.0]]


@pytest.mark.parametrize("names", [[], ["a", "a"], ["a", "z"]])
def test_unknown_repeated_and_no_backbones_are_refused(names: list[str]) -> None:
    embeddings, logits = some_votes()
    with pytest.raises(ValueError, match="cannot weigh"):
        weigh(some_controller(), names, embeddings[: len(names)], logits[: len(names)])


def test_a_controller_for_a_fixed_prefix_weighs_nothing_less() -> None:
    controller, (embeddings, logits) = some_controller(any_subset=False), some_votes()
    assert weigh(controller, NAMES, embeddings, logits).shape == (3, 7)
    with pytest.raises(ValueError, match="together, not a, b alone"):
        weigh(controller, NAMES[:2], embeddings[:2], logits[:2])


@pytest.mark.parametrize(
    "changes",
    [
        {"backbones": ("a", "b")},
        {"backbones": ("a", "b", "b")},
        {"backbones": (), "widths": ()},
        {"widths": (4, 6, 9)},
        {"w2": numbers(2, 16)},
        {"c1": np.full(16, np.nan, dtype=np.float32)},
        {"c2": np.zeros(3)},
    ],
    ids=lambda changes: ",".join(changes),
)
def test_numbers_that_make_no_controller_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"controller|belong together"):
        replace(some_controller(), **changes)  # type: ignore[arg-type]  # the wrong types are the point


def test_a_generic_part_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="belong together"):
        Generic(numbers(5, OPINIONS + 1), numbers(5), numbers(1, 5), numbers(1))
