"""The Hugging Face tokenizers of SigLIP and others as one `tokenizer.json`, ids equal to OpenCLIP's own."""

import json
from typing import Any

import open_clip
from huggingface_hub.utils import logging as hub_logging
from open_clip.tokenizer import HFTokenizer
from tokenizers import Tokenizer, normalizers
from transformers.utils import logging as transformers_logging

from training.export.errors import ExportError
from training.export.text_cleaning import CLEANINGS, Cleaning, cleaning
from training.models.tokenizer import encode

# Every form of difference that a conversion could have: cleaning, unknown characters, empty and overlong texts.
PROBES = ("a photo of a cat", "A PHOTO_of “a” Cat's  hat!", "", "1929, naïve café; 日本語 🙂", "word " * 200)


def load_hf_tokenizer(name: str, *, local_only: bool = False) -> HFTokenizer:
    """OpenCLIP's tokenizer of model `name`, from the local cache or else (unless `local_only`) from the hub.

    Raises `ExportError` if it is in neither.
    """
    # The hub retries for most of a minute without a network and logs each attempt; the sentence below says it all.
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # the hub leaves it unannotated
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # so does transformers
    try:
        return open_clip.get_tokenizer(name, local_files_only=True)
    except Exception as error:  # a file that is missing and one that is broken have no common base
        failure = error
    try:
        if not local_only:
            return open_clip.get_tokenizer(name)
    except Exception as error:  # as above, and the network's own failures besides
        failure = error
    source = open_clip.get_model_config(name)["text_cfg"]["hf_tokenizer_name"]
    raise ExportError(
        f"The tokenizer {source!r} of {name} is not in the local cache and cannot be downloaded "
        f"({type(failure).__name__}): connect to the network once, or pass --random-weights."
    ) from failure


def convert_hf_tokenizer(source: HFTokenizer, text_config: dict[str, Any], context_length: int) -> Tokenizer:
    """`source` with its cleaning, special tokens, truncation and padding; `text_config` is OpenCLIP's `text_cfg`.

    Raises `ExportError` if the result gives other ids than `source`.
    """
    options = text_config.get("tokenizer_kwargs", {})
    kind = options.get("clean", "whitespace")
    if kind not in CLEANINGS:
        raise ExportError(f"This tokenizer cleans texts by {kind!r}, which has no form in a tokenizer file.")
    tokenizer = _with_cleaning(source.tokenizer.backend_tokenizer.to_str(), kind)
    if options.get("strip_sep_token"):
        tokenizer = _without_separator(tokenizer, source.tokenizer.sep_token_id)
    tokenizer.enable_truncation(context_length, direction=source.tokenizer.truncation_side)
    tokenizer.enable_padding(
        direction=source.tokenizer.padding_side,
        length=context_length,
        pad_id=source.tokenizer.pad_token_id,
        pad_token=source.tokenizer.pad_token,
    )
    expected = source(list(PROBES), context_length=context_length).numpy()
    if (encode(tokenizer, PROBES) != expected).any():
        raise ExportError("This tokenizer has no equal in a tokenizer file: ids differ from OpenCLIP's own.")
    return tokenizer


def _with_cleaning(serialized: str, kind: Cleaning) -> Tokenizer:
    """The tokenizer with OpenCLIP's cleaning in front.

    Added tokens are looked for before any cleaning. Those that cleaning would change (`</s>` has punctuation) can never
    be found in a cleaned text, so here they must not be found in a raw one.
    """
    clean = cleaning(kind)
    content = json.loads(serialized)
    kept = [token for token in content["added_tokens"] if clean.normalize_str(token["content"]) == token["content"]]
    tokenizer = Tokenizer.from_str(json.dumps(content | {"added_tokens": kept}))
    if any(tokenizer.token_to_id(token["content"]) != token["id"] for token in kept):
        raise ExportError("This tokenizer's added tokens change their ids when those that cannot occur are left out.")
    own = tokenizer.normalizer
    tokenizer.normalizer = normalizers.Sequence([clean] if own is None else [clean, own])
    return tokenizer


def _without_separator(tokenizer: Tokenizer, separator_id: int) -> Tokenizer:
    """CLIPA's towers were trained with zero in the place of the closing token."""
    content = json.loads(tokenizer.to_str())
    for token in (content["post_processor"] or {}).get("special_tokens", {}).values():
        token["ids"] = [0 if token_id == separator_id else token_id for token_id in token["ids"]]
    return Tokenizer.from_str(json.dumps(content))
