"""Hugging Face tokenizers as tokenizer files: ids equal to those of OpenCLIP's own wrapper."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import HFTokenizer
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import BertTokenizer, GemmaTokenizer, T5Tokenizer
from typer.testing import CliRunner

from training.cli import app
from training.export.errors import ExportError
from training.export.hf_tokenizer import convert_hf_tokenizer, load_hf_tokenizer
from training.models.tokenizer import encode

pytestmark = pytest.mark.torch

LENGTH = 16
CORPUS = ("a photo of a cat", "two dogs run on the beach", "it's a test, really!", "the quick brown fox", "naïve café")
TEXTS = [
    "",
    "   ",
    "a photo of a cat",
    "A PHOTO_of a Cat, it\u2019s \u201chere\u201d!",
    "</s> <pad> <unk> <extra_id_0> in the middle",
    "two  dogs\trun\non the beach " * 20,
    "\ufb01ne \uff23\uff21\uff34\uff01 naïve cafe\u0301 日本語 🙂",
    "e-mail_me@example.com (yes) [no] {maybe} ~`^",
    "a\u00a0b\u2003c\u200bd\ufeffe\x07f",
]


def t5_like(folder: Path) -> HFTokenizer:
    """As SigLIP's: Unigram over words with a mark in front, closed by an end token that also pads."""
    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=special, unk_token=special[2], show_progress=False)
    trained.train_from_iterator(CORPUS * 20, trainer)
    vocabulary = [tuple(entry) for entry in json.loads(trained.to_str())["model"]["vocab"]]
    T5Tokenizer(vocab=vocabulary, extra_ids=2, pad_token="</s>").save_pretrained(folder)
    return HFTokenizer(str(folder), context_length=LENGTH, clean="canonicalize")


def gemma_like(folder: Path, padding_side: str = "right") -> HFTokenizer:
    """As SigLIP 2's: BPE that falls back on bytes, spaces as marks, an end token and a padding token."""
    special = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3, "<mask>": 4}
    tokens = [f"<0x{byte:02X}>" for byte in range(256)] + ["▁", *"abcdefghijklmnopqrstuvwxyz", "at", "cat", "▁cat"]
    vocabulary = special | {token: index for index, token in enumerate(tokens, start=len(special))}
    tokenizer = GemmaTokenizer(
        vocab=vocabulary,
        merges=[("a", "t"), ("c", "at"), ("▁", "cat")],  # type: ignore[list-item]  # annotated too narrowly there
        add_bos_token=False,
        add_eos_token=True,
        padding_side=padding_side,
    )
    tokenizer.save_pretrained(folder)
    return HFTokenizer(str(folder), context_length=LENGTH, clean="canonicalize")


def bert_like(folder: Path) -> HFTokenizer:
    """As CLIPA's: word pieces between two marks, the second of which OpenCLIP replaces by zero."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "photo", "of", "cat", "##s", "!", "run", "##ning"]
    BertTokenizer(vocab={token: index for index, token in enumerate(tokens)}).save_pretrained(folder)
    return HFTokenizer(str(folder), context_length=LENGTH, strip_sep_token=True)


def text_config(**options: Any) -> dict[str, Any]:
    return {"tokenizer_kwargs": options}


Make = Callable[[Path], HFTokenizer]
LIKE: dict[str, tuple[Make, dict[str, Any]]] = {
    "t5": (t5_like, text_config(clean="canonicalize")),
    "gemma": (gemma_like, text_config(clean="canonicalize")),
    "gemma, padded on the left": (lambda folder: gemma_like(folder, "left"), text_config(clean="canonicalize")),
    "bert": (bert_like, text_config(strip_sep_token=True)),
}


@pytest.fixture(scope="module", params=LIKE)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[HFTokenizer, Tokenizer]:
    """OpenCLIP's tokenizer and its conversion, saved and read back."""
    make, config = LIKE[request.param]
    folder = tmp_path_factory.mktemp("tokenizer")
    source = make(folder)
    convert_hf_tokenizer(source, config, LENGTH).save(str(folder / "converted.json"))
    return source, Tokenizer.from_file(str(folder / "converted.json"))


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:20]))
def test_ids_equal_openclips(pair: tuple[HFTokenizer, Tokenizer], text: str) -> None:
    source, converted = pair
    assert encode(converted, [text])[0].tolist() == source([text])[0].tolist()


# Accented letters side by side can look like a wrong decoding to ftfy, which a tokenizer file cannot mend.
PLAIN = (
    "".join(chr(code) for code in range(32, 127) if chr(code) not in "&<")
    + "\u2018\u2019\u201c\u201d\uff21\uff01\ufb02"
)


@settings(max_examples=150, deadline=None)
@given(text=st.text(alphabet=PLAIN, max_size=60))
def test_ids_equal_openclips_on_any_plain_text(pair: tuple[HFTokenizer, Tokenizer], text: str) -> None:
    source, converted = pair
    assert encode(converted, [text])[0].tolist() == source([text])[0].tolist()


def test_texts_end_and_are_padded_as_siglip_was_trained(tmp_path: Path) -> None:
    converted = convert_hf_tokenizer(t5_like(tmp_path), text_config(clean="canonicalize"), LENGTH)
    ids = encode(converted, ["cat", "cat " * 50])
    end = converted.token_to_id("</s>")
    assert ids.shape == (2, LENGTH)
    assert ids[0, -1] == ids[1, -1] == end
    assert (ids[1, :-1] != end).all()


def test_a_tokenizer_that_has_no_equal_in_a_file_is_refused(tmp_path: Path) -> None:
    source = t5_like(tmp_path)
    with pytest.raises(ExportError, match="ids differ from OpenCLIP's own"):
        convert_hf_tokenizer(source, text_config(clean="lower"), LENGTH)
    with pytest.raises(ExportError, match="cleans texts by 'stem'"):
        convert_hf_tokenizer(source, text_config(clean="stem"), LENGTH)


def test_a_tokenizer_in_the_local_cache_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    t5_like(tmp_path)
    asked: list[bool] = []

    def cached(_name: str, local_files_only: bool = False) -> HFTokenizer:
        asked.append(local_files_only)
        return HFTokenizer(str(tmp_path), context_length=64, clean="canonicalize", local_files_only=local_files_only)

    monkeypatch.setattr(open_clip, "get_tokenizer", cached)
    assert load_hf_tokenizer("ViT-B-16-SigLIP")(["a cat"]).shape == (1, 64)
    assert asked == [True]


def test_a_tokenizer_that_cannot_be_downloaded_is_one_clear_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("We couldn't connect\nto the hub")

    monkeypatch.setattr(open_clip, "get_tokenizer", refuse)
    result = CliRunner().invoke(app, ["export", "ViT-B-16-SigLIP:webli", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stderr == (
        "error: The tokenizer 'timm/ViT-B-16-SigLIP' of ViT-B-16-SigLIP is not in the local cache and cannot be "
        "downloaded (OSError): connect to the network once, or pass --random-weights.\n"
    )
    assert list(tmp_path.iterdir()) == []
