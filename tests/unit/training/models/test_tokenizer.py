"""The zoo's tokenizer file."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer

from training.models.tokenizer import END_ID, PAD_ID, START_ID, encode, train_tokenizer

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    texts = ["a photo of a cat", "a photo of a dog", "two dogs run"] * 5
    train_tokenizer(texts, vocab_size=320, context_length=12).save(str(path))
    return Tokenizer.from_file(str(path))


@pytest.mark.parametrize("text", ["", "a cat", "a photo of a cat " * 20, "日本語 ✨", "\tA  CAT\n"])
def test_every_text_becomes_exactly_the_context_length_of_ids(tokenizer: Tokenizer, text: str) -> None:
    ids = encode(tokenizer, [text])[0]
    assert len(ids) == 12
    assert ids[0] == START_ID
    assert list(ids).count(END_ID) == 1


def test_padding_follows_the_end_token(tokenizer: Tokenizer) -> None:
    ids = encode(tokenizer, ["a cat"])[0].tolist()
    assert set(ids[ids.index(END_ID) + 1 :]) == {PAD_ID}


def test_case_and_spacing_do_not_matter(tokenizer: Tokenizer) -> None:
    plain, shouted = encode(tokenizer, ["a photo of a cat", "  A photo  of a CAT "])
    assert plain.tolist() == shouted.tolist()


def test_no_text_is_outside_the_vocabulary(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(encode(tokenizer, ["zür ✨"])[0].tolist()).strip() == "zür ✨"
