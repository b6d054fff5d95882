from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from service.errors import InvalidLabelsError
from service.pipeline.labels import LabelLimits, class_embeddings, make_label_set

LIMITS = LabelLimits(max_labels=5, max_prompts=12, max_characters=20)


def test_labels_get_the_default_template() -> None:
    label_set = make_label_set(["cat", "dog"], None, LIMITS)
    assert label_set.prompts()[0] == ["a photo of a cat.", "a photo of a dog."]


def test_every_phrasing_goes_into_every_template() -> None:
    label_set = make_label_set({"cat": ["cat", "kitten"], "dog": ["dog"]}, ["a {}.", "my {}, a {}"], LIMITS)
    texts, classes = label_set.prompts()
    assert texts == ["a cat.", "my cat, a cat", "a kitten.", "my kitten, a kitten", "a dog.", "my dog, a dog"]
    assert classes.tolist() == [0, 0, 0, 0, 1, 1]


def test_a_template_is_text_and_not_a_format_string() -> None:
    label_set = make_label_set(["{0.__class__}"], ["{} {x} {0}"], LIMITS)
    assert label_set.prompts()[0] == ["{0.__class__} {x} {0}"]


def test_white_space_around_labels_does_not_count() -> None:
    assert make_label_set(["  cat ", "dog"], None, LIMITS).labels == ("cat", "dog")


def test_equal_contents_have_equal_digests() -> None:
    one = make_label_set(["cat", "dog"], None, LIMITS)
    assert one.digest == make_label_set({"cat": ["cat"], "dog": ["dog"]}, ["a photo of a {}."], LIMITS).digest
    assert one.digest != make_label_set(["dog", "cat"], None, LIMITS).digest
    assert one.digest != make_label_set(["cat", "dog"], ["a {}"], LIMITS).digest


@pytest.mark.parametrize(
    ("labels", "templates", "complaint", "param"),
    [
        ([], None, "No labels", "labels"),
        (list("abcdef"), None, "6 labels, the limit is 5", "labels"),
        (["cat", " "], None, r"labels\[1\] is empty", "labels[1]"),
        (["cat", "dog", "cat "], None, r'"cat" is there twice \(labels\[0\] and labels\[2\]\)', "labels[2]"),
        ({"cat": ["x"], "cat ": ["y"]}, None, "there twice", "labels[1]"),
        (["x" * 21], None, "21 characters, the limit is 20", "labels[0]"),
        ({"cat": []}, None, "no phrasing", "labels.cat"),
        ({"cat": ["kitty", ""]}, None, "is empty", "labels.cat[1]"),
        (["cat"], [], "No templates", "templates"),
        (["cat"], ["a photo"], r"templates\[0\] has no \{\}", "templates[0]"),
        (["a", "b", "c"], ["{}1", "{}2", "{}3", "{}4", "{}5"], "15 prompts, the limit is 12", "templates"),
    ],
)
def test_bad_labels_are_named(
    labels: Sequence[str] | Mapping[str, Sequence[str]], templates: Sequence[str] | None, complaint: str, param: str
) -> None:
    with pytest.raises(InvalidLabelsError, match=complaint) as caught:
        make_label_set(labels, templates, LIMITS)
    assert caught.value.param == param


def test_prompts_are_normalised_averaged_and_normalised_again() -> None:
    prompts = np.array([[3, 0, 0], [0, 5, 0], [0, 0, 2]], dtype=np.float32)
    classes = class_embeddings(prompts, np.array([0, 0, 1]), 2)
    half = np.sqrt(0.5)
    assert np.allclose(classes, np.array([[half, half, 0.0], [0.0, 0.0, 1.0]]))
    assert classes.dtype == np.float32
