"""A sentence encoder as a teacher, with a tiny BERT of random weights in place of the real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizer

from training.data.rows import DataError
from training.models.sentences import sentence_embeddings

pytestmark = pytest.mark.torch

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "dog", "sits", "on", "the", "mat"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder") / "model"
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    BertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder.parent


def test_embeddings_are_unit_rows_in_the_order_of_the_texts(encoder: Path) -> None:
    texts = ["the cat sits on the mat", "a dog", "a cat"]
    found = sentence_embeddings(encoder, texts, progress=False)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    again = sentence_embeddings(encoder, texts[::-1], progress=False)[::-1]
    assert np.allclose(found, again, atol=1e-2)  # bfloat16 sums differ with the padding beside them
    assert not np.allclose(found[1], found[2], atol=1e-3)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no sentence encoder here"):
        sentence_embeddings(tmp_path, ["a cat"], progress=False)
