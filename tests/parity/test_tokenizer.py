"""`tokenizer.json` against OpenCLIP's own tokenizer."""

from __future__ import annotations

import open_clip
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from training.export.openclip_tokenizer import convert_tokenizer
from training.models.tokenizer import encode

pytestmark = pytest.mark.torch

TEXTS = [
    "",
    "a photo of a cat",
    "A PHOTO of a CAT.",
    "  spaces \t and\nlines  ",
    "it's they're I'd we've you'll I'm don't",
    "IT'S THEY'RE",
    "1929, 3.14 and 1,000,000!",
    "e-mail_me@example.com #tag (yes) [no] {maybe}",
    "naïve café Zürich Ærøskøbing straße",
    "日本語 русский עברית हिन्दी",
    "emoji 🙂 👩‍🚀 ✨",
    "it\u2019s \u201cquoted\u201d and \u2018so\u2019 on",
    "\ufb01sh \ufb02our \uff23\uff2c\uff29\uff30\uff01 cafe\u0301 e\x07f \u3000 g",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "<start_of_text> in the middle <end_of_text> of it",
    "word " * 100,
    "x" * 500,
]


@pytest.fixture(scope="module")
def reference() -> open_clip.SimpleTokenizer:
    return open_clip.get_tokenizer("ViT-B-32-quickgelu")


@pytest.fixture(scope="module")
def converted(reference: open_clip.SimpleTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    convert_tokenizer(reference, 77).save(str(path))
    return Tokenizer.from_file(str(path))


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:20]))
def test_ids_equal_openclips(reference: open_clip.SimpleTokenizer, converted: Tokenizer, text: str) -> None:
    assert encode(converted, [text])[0].tolist() == reference([text])[0].tolist()


@pytest.mark.parametrize("context_length", [8, 32])
def test_ids_equal_openclips_at_other_context_lengths(
    reference: open_clip.SimpleTokenizer, context_length: int
) -> None:
    tokenizer = convert_tokenizer(reference, context_length)
    for text in TEXTS:
        expected = reference([text], context_length=context_length)[0].tolist()
        assert encode(tokenizer, [text])[0].tolist() == expected


@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="&<"), max_size=60))
def test_ids_equal_openclips_on_any_plain_text(text: str) -> None:
    source = open_clip.tokenizer._tokenizer
    tokenizer = _shared_tokenizer()
    assert encode(tokenizer, [text])[0].tolist() == source([text])[0].tolist()


_CACHE: dict[str, Tokenizer] = {}


def _shared_tokenizer() -> Tokenizer:
    """Hypothesis and fixtures of function scope do not mix; the conversion takes a moment."""
    if "tokenizer" not in _CACHE:
        _CACHE["tokenizer"] = convert_tokenizer(open_clip.tokenizer._tokenizer, 77)
    return _CACHE["tokenizer"]
