"""Labelled examples: checked, without duplicates, in an order of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.errors import InvalidExamplesError
from service.pipeline.controller.examples import Examples, deal, make_examples
from service.pipeline.logits import Floats
from tests.support.committees import digests

BACKBONES = ("small", "large")


def some_arrays(images: int = 6, classes: int = 3) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    return {
        "backbones": BACKBONES,
        "embeddings": [generator.standard_normal((images, width), dtype=np.float32) for width in (4, 5)],
        "logits": generator.standard_normal((2, images, classes), dtype=np.float32),
        "truth": np.arange(images) % classes,
        "digests": digests(images),
    }


def equal(one: Examples, other: Examples) -> bool:
    arrays: list[tuple[NDArray[Any], NDArray[Any]]] = [(one.logits, other.logits), (one.truth, other.truth)]
    arrays += zip(one.embeddings, other.embeddings, strict=True)
    same = (one.backbones, one.digests) == (other.backbones, other.digests)
    return same and all(np.array_equal(a, b) for a, b in arrays)


def test_the_order_of_images_and_of_backbones_does_not_matter() -> None:
    arrays, order = some_arrays(), [3, 0, 5, 4, 1, 2]
    turned = make_examples(
        BACKBONES[::-1],
        [rows[order] for rows in arrays["embeddings"]][::-1],
        arrays["logits"][::-1][:, order],
        arrays["truth"][order],
        [arrays["digests"][i] for i in order],
    )
    assert equal(turned, make_examples(**arrays))
    assert turned.backbones == ("large", "small")


def test_arrays_stay_with_their_image_and_their_backbone() -> None:
    arrays = some_arrays()
    examples = make_examples(**arrays)
    for row, digest in enumerate(examples.digests):
        came = arrays["digests"].index(digest)
        assert examples.truth[row] == arrays["truth"][came]
        assert np.array_equal(examples.logits[row, 1], arrays["logits"][0, came])
        assert np.array_equal(examples.embeddings[1][row], arrays["embeddings"][0][came])


def test_an_image_that_is_there_twice_counts_once() -> None:
    arrays = some_arrays()
    twice = [*range(6), 2]
    examples = make_examples(
        BACKBONES,
        [rows[twice] for rows in arrays["embeddings"]],
        arrays["logits"][:, twice],
        arrays["truth"][twice],
        [arrays["digests"][i] for i in twice],
    )
    assert equal(examples, make_examples(**arrays))


def test_one_image_with_two_labels_is_refused_and_named() -> None:
    arrays = some_arrays()
    arrays["digests"][4] = arrays["digests"][0]
    with pytest.raises(InvalidExamplesError, match=r"examples\[0\] and examples\[4\] are the same image") as caught:
        make_examples(**arrays)
    assert caught.value.param == "examples[4]"


def test_several_disputed_images_are_counted() -> None:
    arrays = some_arrays()
    arrays["digests"][1:3] = [arrays["digests"][0]] * 2
    with pytest.raises(InvalidExamplesError, match="So are 1 more"):
        make_examples(**arrays)


def test_no_examples_are_refused() -> None:
    arrays = some_arrays(images=0)
    with pytest.raises(InvalidExamplesError, match="at least one"):
        make_examples(**arrays)


def without_one(array: Floats) -> Floats:
    return array[:-1]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("backbones", ("small", "small")),
        ("backbones", ("small",)),
        ("embeddings", [np.zeros((6, 4), np.float32)]),
        ("embeddings", [np.zeros((5, 4), np.float32)] * 2),
        ("embeddings", [np.full((6, 4), np.inf, np.float32)] * 2),
        ("logits", np.zeros((2, 6, 0), np.float32)),
        ("logits", np.zeros((3, 6, 3), np.float32)),
        ("logits", np.full((2, 6, 3), np.nan, np.float32)),
        ("truth", np.zeros(5, np.int64)),
        ("truth", np.array([0, 1, 2, 3, 0, 0])),
        ("truth", np.array([0, 1, 2, -1, 0, 0])),
    ],
)
def test_arrays_that_do_not_belong_together_are_a_bug(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"need|shape|same|finite|positions"):
        make_examples(**(some_arrays() | {field: value}))


def test_some_backbones_and_some_images_can_be_taken() -> None:
    examples = make_examples(**some_arrays())
    small = examples.of(["small"])
    assert small.backbones == ("small",)
    assert np.array_equal(small.logits[:, 0], examples.logits[:, 1])
    part = examples.take(np.array([1, 4]))
    assert part.digests == (examples.digests[1], examples.digests[4])
    assert len(part) == 2


def test_shots_are_those_of_classes_that_have_examples() -> None:
    arrays = some_arrays(classes=9)
    arrays["truth"] = np.array([0, 0, 0, 5, 5, 7])
    assert make_examples(**arrays).shots == (1, 3)


def dealt(truth: list[int], folds: int = 4, seed: int = 0) -> np.ndarray:
    arrays = some_arrays(len(truth), max(truth) + 1) | {"truth": np.array(truth)}
    return deal(make_examples(**arrays), folds, seed)


@given(st.lists(st.integers(0, 5), min_size=8, max_size=60), st.integers(0, 3))
def test_folds_differ_by_one_image_at_most_and_so_does_a_class_in_them(truth: list[int], seed: int) -> None:
    fold = dealt(truth, seed=seed)
    examples = make_examples(**(some_arrays(len(truth), max(truth) + 1) | {"truth": np.array(truth)}))
    sizes = np.bincount(fold, minlength=4)
    assert sizes.max() - sizes.min() <= 1
    for label in set(truth):
        shares = np.bincount(fold[examples.truth == label], minlength=4)
        assert shares.max() - shares.min() <= 1


def test_one_example_per_class_is_dealt_like_any_other() -> None:
    assert np.bincount(dealt(list(range(40)))).tolist() == [10, 10, 10, 10]


def test_folds_depend_on_the_seed_and_not_on_the_names_of_the_classes() -> None:
    truth = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    renamed = [3 - label for label in truth]
    assert np.array_equal(dealt(truth), dealt(renamed))
    assert not np.array_equal(dealt(truth), dealt(truth, seed=1))
