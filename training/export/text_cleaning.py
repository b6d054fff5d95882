"""OpenCLIP's cleaning of texts as part of a tokenizer file, so that whoever serves the tower needs the file and nothing
else.

OpenCLIP runs `ftfy` over a text, resolves HTML entities, and then cleans in one of three ways. Of the first two, this
has what the `tokenizers` library has a form for: curly quotes, ligatures, full-width and half-width characters, control
characters, composed accents. Not carried over: text that was decoded in the wrong encoding, and HTML entities. Lower
case is taken letter by letter, so a Greek capital sigma at the end of a word becomes the inner form.
"""

import string
from typing import Literal, get_args

from ftfy import chardata
from tokenizers import Regex, normalizers
from tokenizers.normalizers import Normalizer

Cleaning = Literal["whitespace", "lower", "canonicalize"]
CLEANINGS: tuple[Cleaning, ...] = get_args(Cleaning)


def cleaning(kind: Cleaning) -> Normalizer:
    """What OpenCLIP's function of that name does; `canonicalize` drops punctuation and lower-cases, as SigLIP does."""
    steps = _mending()
    if kind == "canonicalize":
        steps += [normalizers.Replace("_", " "), normalizers.Replace(_one_of(string.punctuation), "")]
    if kind != "whitespace":
        steps.append(normalizers.Lowercase())
    return normalizers.Sequence([*steps, normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()])


def _mending() -> list[Normalizer]:
    controls = "".join(chr(code) for code in chardata.CONTROL_CHARS)
    return [
        normalizers.Replace(_one_of(controls), ""),
        *(normalizers.Replace(chr(code), letters) for code, letters in chardata.LIGATURES.items()),
        *(normalizers.Replace(chr(code), letter) for code, letter in chardata.WIDTH_MAP.items()),
        normalizers.Replace(Regex(chardata.SINGLE_QUOTE_RE.pattern), "'"),
        normalizers.Replace(Regex(chardata.DOUBLE_QUOTE_RE.pattern), '"'),
        normalizers.NFC(),
    ]


def _one_of(characters: str) -> Regex:
    return Regex("[" + "".join(f"\\x{{{ord(character):x}}}" for character in characters) + "]")
