"""Emoji: names, classes, styles and the split by concept, on a handful of emoji."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from tests.unit.training.data.builders.toy import CIRCLE, npm_package
from training.data.builders import emoji as module
from training.data.builders import flags
from training.data.builders.emoji_table import GOOGLE, KEYWORDS, NAMES, emoji_table
from training.data.builders.packages import unpack
from training.data.builders.pictures import Dropped, Folders, Picture
from training.data.builders.separate import shared_concepts

pytestmark = pytest.mark.torch

# Code, CLDR name, subgroup.
ROWS = (
    ("1F408", "cat", "animal-mammal"),
    ("1F431", "cat face", "animal-mammal"),
    ("1F415", "dog", "animal-mammal"),
    ("1F42E", "cow face", "animal-mammal"),
    ("1F411", "ewe", "animal-mammal"),
    ("1F468-200D-2695-FE0F", "man health worker", "person-role"),
    ("1F469-200D-2695-FE0F", "woman health worker", "person-role"),
    ("1F999", "pilot", "person-role"),
    ("2764-FE0F", "red heart", "heart"),
    ("1F499", "blue heart", "heart"),
    ("1F5A4", "broken heart", "heart"),
    ("1F997", "cricket", "animal-bug"),
    ("1F1EB-1F1F7", "flag: France", "country-flag"),
    ("1F1F7-1F1EA", "flag: Réunion", "country-flag"),
    ("1F1EE-1F1F9", "flag: Italy", "country-flag"),
    ("1F1E6-1F1E8", "flag: Ascension Island", "country-flag"),
    ("1F3FB", "light skin tone", "skin-tone"),
)
STYLES = ("emoji", "flat emoji", "3d emoji", "old emoji", "glossy emoji")
ICONS = {"cat": "#111", "cat-face": "#222", "dog": "#333", "cricket": "#444", "flag-for-france": "#555", "gone": "#666"}


def text(code: str) -> str:
    return "".join(chr(int(part, 16)) for part in code.split("-"))


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Toy packages for every package that the emoji sources name."""
    table = [
        {"unified": code, "subcategory": subgroup, "sort_order": position}
        for position, (code, _, subgroup) in enumerate(ROWS)
    ]
    # The other packages write codes without the presentation mark.
    names = [{"hexcode": code.replace("-FE0F", ""), "label": name, "tags": ["tag", "cat"]} for code, name, _ in ROWS]
    keywords = {text(code): [name.replace(" ", "_"), "tag", "animal"] for code, name, _ in ROWS}
    icons = {"width": 16, "height": 16, "icons": {name: {"body": CIRCLE.format(c)} for name, c in ICONS.items()}}
    contents: dict[str, dict[str, object]] = {
        GOOGLE.name: {"emoji.json": table},
        NAMES.name: {"en/data.json": names},
        KEYWORDS.name: {"dist/emoji-en-US.json": keywords},
        module.NOTO_V1.name: {"icons.json": icons},
        module.EMOJIONE.name: {"icons.json": icons | {"aliases": {"ewe": {"parent": "dog"}}}},
        module.OPENMOJI.name: {"icons.json": icons, "chars.json": {"1f408": "cat", "2764": "gone"}},
    }
    result = {
        name: unpack(npm_package(tmp_path, name.removeprefix("@").replace("/", "-"), files), tmp_path)
        for name, files in contents.items()
    }
    for name, folder, suffix in (
        (GOOGLE.name, "package/img/google/64", ".png"),
        (module.TWITTER.name, "package/img/twitter/64", ".png"),
        (module.FLUENT.name, "package/assets", ".webp"),
    ):
        root = result.setdefault(name, tmp_path / "files" / name)
        (root / folder).mkdir(parents=True)
        for position, (code, _, _) in enumerate(ROWS):
            colours = (position * 15, 255 - position * 15, len(name) * 5, 255)
            image = Image.new("RGBA", (64, 64))
            image.paste(colours, (8, 8, 56, 56))
            image.save(root / folder / f"{code.lower()}{suffix}", lossless=True)
    return result


def by_style(pictures: list[Picture]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for one in pictures:
        found.setdefault(one.extra["style"], set()).add(one.extra["name"])
    return found


def test_the_table_joins_packages_that_write_codes_differently(folders: Folders) -> None:
    table = {one.name: one for one in emoji_table(folders)}
    assert "light skin tone" not in table
    assert table["red heart"].label == "heart"
    assert table["man health worker"].concept == table["woman health worker"].concept == "health worker"
    assert table["flag: France"].flag
    assert table["flag: France"].label is None


def test_keywords_add_to_the_name_and_the_agreed_ones_come_first(folders: Folders) -> None:
    (cat,) = (one for one in emoji_table(folders) if one.name == "cat")
    assert cat.keywords == ("tag", "animal")


def test_every_style_shows_what_it_has(folders: Folders) -> None:
    dropped: Dropped = Counter()
    pictures = list(module.read(folders, dropped))
    names = {name for _, name, subgroup in ROWS if subgroup not in ("country-flag", "skin-tone")}
    found = by_style(pictures)
    assert found["emoji"] == found["flat emoji"] == found["3d emoji"] == names
    assert found["old emoji"] == {"cat", "cat face", "dog"}
    assert found["glossy emoji"] == {"cat", "cat face", "dog", "ewe"}
    assert dropped["not in the style 'old emoji'"] == len(names) - 3


def test_old_sets_do_not_lend_a_name_that_has_changed_its_meaning(folders: Folders) -> None:
    pictures = module.read(folders, Counter())
    assert {one.extra["style"] for one in pictures if one.extra["name"] == "cricket"} == {
        "emoji",
        "flat emoji",
        "3d emoji",
    }


def test_captions_carry_name_style_and_class(folders: Folders) -> None:
    first = next(iter(module.read(folders, Counter())))
    assert first.captions == (
        "cat",
        "an emoji of cat",
        "cat, tag, animal",
        "an emoji for tag, animal",
        "cat, a mammal",
        "an emoji of a mammal",
    )
    assert first.label == "mammal"


def test_an_unseen_concept_is_in_no_train_row_of_any_style_openmoji_included(folders: Folders) -> None:
    pictures = {
        "emoji": list(module.read(folders, Counter())),
        "openmoji": list(module.read_openmoji(folders, Counter())),
    }
    sources = {"emoji": module.SOURCE, "openmoji": module.OPENMOJI_SOURCE}
    assert shared_concepts(sources, pictures) == []
    unseen = {one.concept for one in pictures["emoji"] if one.test}
    assert unseen
    assert unseen < {one.concept for one in pictures["emoji"]}
    for one in pictures["openmoji"]:
        assert one.extra["concept in other styles"] == ("unseen" if one.concept in unseen else "seen")


def test_openmoji_is_found_by_code_point_with_and_without_the_presentation_mark(folders: Folders) -> None:
    pictures = list(module.read_openmoji(folders, Counter()))
    assert [one.extra["name"] for one in pictures] == ["cat", "red heart"]


def test_flags_are_tested_as_another_hand_draws_them_and_each_plain_flag_stands_for_one_country(
    folders: Folders, tmp_path: Path
) -> None:
    plain = tmp_path / "plain/usr/share/iso-flags-png-320x240"
    plain.mkdir(parents=True)
    for name, colour in {"fr": "blue", "re": "blue", "it": "green", "_basque": "red"}.items():
        Image.new("RGBA", (320, 240), colour).save(plain / f"{name}.png")
    dropped: Dropped = Counter()
    rows = list(flags.read({**folders, flags.ISO_FLAGS.name: tmp_path / "plain"}, dropped))
    found = {(row.label, row.extra["style"], row.test) for row in rows}
    drawn = {("flag of France", style, False) for style in STYLES}
    assert {one for one in found if one[0] == "flag of France"} == {*drawn, ("flag of France", "plain", True)}
    assert {label for label, _, _ in found} == {"flag of France", "flag of Italy"}
    assert dropped["country with another country's plain flag"] == 1
    assert dropped["flag that only emoji have"] == 1
    assert dropped["flag that only the plain set has"] == 1
