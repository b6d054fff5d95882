from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from service.errors import RepositoryError
from service.pipeline.inputs.tokenize import TextTokenizer
from service.repository import TextTower, Zoo
from tests.support.repository import CONTEXT_LENGTH, write_tokenizer


@pytest.fixture
def tower(fake_zoo: Zoo) -> TextTower:
    return fake_zoo.backbones[0].text


def test_short_texts_are_padded_and_long_ones_cut(tower: TextTower) -> None:
    ids = TextTokenizer(tower)(["ab", "x" * 100])
    assert ids.shape == (2, CONTEXT_LENGTH)
    assert ids.dtype == "int64"
    assert (ids[0, 2:] == 0).all()
    assert (ids[1] != 0).all()


def test_a_text_does_not_depend_on_its_neighbours(tower: TextTower) -> None:
    tokenizer = TextTokenizer(tower)
    assert tokenizer(["ab", "x" * 100])[0].tolist() == tokenizer(["ab"])[0].tolist()


def test_tokens_are_counted_without_padding_and_without_what_is_cut(tower: TextTower) -> None:
    tokenizer = TextTokenizer(tower)
    assert tokenizer.count(["ab", "x" * 100]) == 2 + CONTEXT_LENGTH
    assert tokenizer.count([]) == 0


def test_a_file_that_is_no_tokenizer_is_named(tower: TextTower, tmp_path: Path) -> None:
    broken = tmp_path / "tokenizer.json"
    broken.write_text("{}")
    with pytest.raises(RepositoryError, match="not a tokenizer file"):
        TextTokenizer(dataclasses.replace(tower, tokenizer_path=broken))


def test_a_tokenizer_of_another_length_is_refused(tower: TextTower, tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "tokenizer.json", context_length=5)
    with pytest.raises(RepositoryError, match=r"encodes to 5 ids, quorum\.context_length says 16"):
        TextTokenizer(dataclasses.replace(tower, tokenizer_path=tmp_path / "tokenizer.json"))
