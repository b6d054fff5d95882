"""Captions shown in training."""

from __future__ import annotations

import numpy as np
import pytest

from training.data.captions import all_texts, caption_group, draw_caption

pytestmark = pytest.mark.torch


def test_a_captioned_image_is_only_ever_shown_its_own_captions() -> None:
    rng = np.random.default_rng(0)
    assert {draw_caption(("one", "two"), None, rng) for _ in range(50)} == {"one", "two"}


def test_a_labelled_image_is_shown_templates_and_its_own_captions() -> None:
    rng = np.random.default_rng(0)
    drawn = {draw_caption(("my own words",), "cat", rng) for _ in range(200)}
    assert {"my own words", "cat", "a photo of a cat."} <= drawn


def test_every_text_that_can_be_drawn_is_known_to_the_tokenizer_up_to_a_full_stop() -> None:
    rng = np.random.default_rng(0)
    known = set(all_texts(("my own words",), "cat"))
    assert {draw_caption(("my own words",), "cat", rng).removesuffix(".") for _ in range(200)} <= known


def test_captions_count_as_equal_by_label_or_by_their_words() -> None:
    assert caption_group("a cat", "cat") == caption_group("a photo of a Cat", "Cat")
    assert caption_group("a dog runs", None) == caption_group("A dog runs", None)
    assert caption_group("cat", None) != caption_group("cat", "cat")
