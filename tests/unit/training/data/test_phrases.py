"""Texts without pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.data.phrases import wordnet_texts
from training.data.rows import DataError

pytestmark = pytest.mark.torch

# The format of WordNet's files: offset, lexicographer's file, kind, count of names in hex, names with numbers, gloss.
NOUNS = """  1 This software and database is being provided to you, the LICENSEE, by the authors
02121620 05 n 02 cat 0 true_cat 0 003 @ 02120997 n 0000 | feline mammal with thick soft fur; "a cat on a mat"
05962043 09 n 01 doctrine 0 001 @ 05941423 n 0000 | a belief accepted as authoritative
"""


def test_names_glosses_and_templates_of_visible_things_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "usr/share/wordnet"
    folder.mkdir(parents=True)
    (folder / "data.noun").write_text(NOUNS)
    cat, true_cat, gloss, first, second, doctrine, belief = wordnet_texts(tmp_path)
    assert (cat, true_cat, gloss) == ("cat", "true cat", "feline mammal with thick soft fur")
    assert first.endswith(" cat")
    assert second.endswith(" true cat")
    assert first.removesuffix("cat") != second.removesuffix("true cat")
    assert (doctrine, belief) == ("doctrine", "a belief accepted as authoritative")


def test_a_folder_without_wordnet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.noun: no such file"):
        list(wordnet_texts(tmp_path))
