"""Pictures and the texts that they may be shown with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from torch import nn

from training.adapters.pairs import Pairs, label_texts, make_pairs, matching_loss, pair_losses
from training.losses import contrastive_loss, soft_targets
from training.models.tokenizer import train_tokenizer

pytestmark = pytest.mark.torch

CAPTIONS = (("a red hat", "A red hat"), ("a photo of a cat",), (), ("two dogs", "animals"))
LABELS = (None, "cat", "cat", None)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([text for each in CAPTIONS for text in each], vocab_size=300, context_length=12)


@pytest.fixture(scope="module")
def pairs(tokenizer: Tokenizer) -> Pairs:
    images = np.zeros((4, 8, 8, 3), dtype=np.uint8)
    return make_pairs(images, CAPTIONS, LABELS, ["s"] * 4, tokenizer, torch.device("cpu"))


def _words(pairs: Pairs, texts: np.ndarray) -> set[str]:
    return {pairs.words[text] for text in texts.tolist()}


def test_a_picture_is_shown_with_its_own_texts_alone(pairs: Pairs) -> None:
    rows = np.repeat(np.arange(4), 200)
    drawn = pairs.draw(rows, np.random.default_rng(0), 0.5).reshape(4, 200)
    templates = {text.lower() for text in label_texts("cat")}
    assert _words(pairs, drawn[0]) == {"a red hat"}
    assert _words(pairs, drawn[1]) == templates | {"a photo of a cat"}
    assert _words(pairs, drawn[2]) == templates
    assert _words(pairs, drawn[3]) == {"two dogs", "animals"}


def test_a_labelled_picture_gets_templates_in_their_share(tokenizer: Tokenizer) -> None:
    images = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    pairs = make_pairs(images, [("something else",)], ["cat"], ["s"], tokenizer, torch.device("cpu"))
    drawn = pairs.draw(np.zeros(4000, dtype=np.int64), np.random.default_rng(0), 0.25)
    assert np.mean([pairs.words[text] != "something else" for text in drawn]) == pytest.approx(0.25, abs=0.03)


def test_texts_match_every_picture_that_may_have_them(pairs: Pairs) -> None:
    texts = torch.tensor([pairs.words.index(text) for text in ("a red hat", "a photo of a cat", "animals")])
    matches = pairs.matches(torch.arange(4), texts)
    assert matches.tolist() == [[True, False, False], [False, True, False], [False, True, False], [False, False, True]]


def test_ids_are_those_of_the_texts(pairs: Pairs, tokenizer: Tokenizer) -> None:
    assert pairs.ids.tolist() == [tokenizer.encode(text).ids for text in pairs.words]


def test_a_picture_without_any_text_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="neither a caption nor a label"):
        make_pairs(np.zeros((1, 8, 8, 3), dtype=np.uint8), [()], [None], ["s"], tokenizer, torch.device("cpu"))


def _rows(seed: int) -> torch.Tensor:
    return nn.functional.normalize(torch.randn(4, 6, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_with_matches_that_go_both_ways_the_loss_is_that_of_the_towers() -> None:
    groups = ["a", "b", "a", "c"]
    match = torch.tensor([[one == other for other in groups] for one in groups])
    expected = contrastive_loss(_rows(0), _rows(1), torch.tensor(7.0), soft_targets(groups))
    torch.testing.assert_close(matching_loss(_rows(0), _rows(1), torch.tensor(7.0), match), expected)


def test_the_loss_is_the_mean_of_what_each_pair_adds() -> None:
    match = torch.eye(4, dtype=torch.bool)
    each = pair_losses(_rows(0), _rows(1), torch.tensor(7.0), match)
    logits = 7 * _rows(0) @ _rows(1).T
    second = -(logits.log_softmax(dim=1)[1, 1] + logits.log_softmax(dim=0)[1, 1]) / 2
    torch.testing.assert_close(each[1], second)
    torch.testing.assert_close(each.mean(), matching_loss(_rows(0), _rows(1), torch.tensor(7.0), match))


def test_a_text_that_says_both_pictures_pulls_both_and_is_pulled_by_both() -> None:
    match = torch.eye(4, dtype=torch.bool)
    match[0, 1] = True  # the text of 1 is true of picture 0 as well; that of 0 is not of picture 1
    logits = 7 * _rows(0) @ _rows(1).T
    by_picture, by_text = -logits.log_softmax(dim=1), -logits.T.log_softmax(dim=1)
    pictures = (by_picture[0, :2].mean() + by_picture[1, 1] + by_picture[2, 2] + by_picture[3, 3]) / 4
    texts = (by_text[0, 0] + by_text[1, :2].mean() + by_text[2, 2] + by_text[3, 3]) / 4
    loss = matching_loss(_rows(0), _rows(1), torch.tensor(7.0), match)
    torch.testing.assert_close(loss, (pictures + texts) / 2)
