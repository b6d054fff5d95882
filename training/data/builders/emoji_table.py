"""The emoji themselves, without their drawings: code point, name, keywords and class."""

import json
from dataclasses import dataclass
from typing import Final

from training.data.builders.concepts import concept_of
from training.data.builders.packages import Package
from training.data.builders.pictures import Folders

GOOGLE = Package(
    "npm",
    "emoji-datasource-google",
    "16.0.0",
    "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
)
NAMES = Package("npm", "emojibase-data", "17.0.0", "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a")
KEYWORDS = Package("npm", "emojilib", "4.0.3", "7f9a6b43cff31d18985b7d65d11faba5bd971cbcc60020cf6d09322fbaaaf303")
TABLE_PACKAGES: Final = (GOOGLE, NAMES, KEYWORDS)

# Unicode's subgroups under words that people use; a subgroup that no single word fits has no class.
CLASSES: Final[dict[str, tuple[str, ...]]] = {
    "smiley face": (
        *("face-affection", "face-concerned", "face-costume", "face-glasses", "face-hand", "face-hat"),
        *("face-negative", "face-neutral-skeptical", "face-sleepy", "face-smiling", "face-tongue", "face-unwell"),
    ),
    "heart": ("heart",),
    "hand": (
        *("hand-fingers-closed", "hand-fingers-open", "hand-fingers-partial", "hand-single-finger"),
        *("hands", "hand-prop"),
    ),
    "person": (
        *("person", "person-activity", "person-fantasy", "person-gesture", "person-resting", "person-role"),
        *("person-sport", "family"),
    ),
    "mammal": ("animal-mammal", "cat-face", "monkey-face"),
    "bird": ("animal-bird",),
    "sea animal": ("animal-marine",),
    "insect": ("animal-bug",),
    "plant": ("plant-flower", "plant-other"),
    "fruit": ("food-fruit",),
    "vegetable": ("food-vegetable",),
    "meal": ("food-prepared", "food-asian"),
    "dessert": ("food-sweet",),
    "drink": ("drink",),
    "building": ("place-building", "place-religious"),
    "vehicle": ("transport-ground", "transport-air", "transport-water"),
    "clock": ("time",),
    "weather": ("sky & weather",),
    "sports gear": ("sport",),
    "musical instrument": ("musical-instrument",),
    "clothing": ("clothing",),
    "tool": ("tool",),
    "stationery": ("office", "writing", "book-paper", "mail"),
    "electronic device": ("computer", "phone", "light & video"),
    "symbol": (
        *("transport-sign", "warning", "arrow", "av-symbol", "keycap", "alphanum", "zodiac", "religion"),
        *("geometric", "math", "punctuation", "gender", "currency", "other-symbol"),
    ),
}
_CLASS_OF: Final = {subgroup: name for name, subgroups in CLASSES.items() for subgroup in subgroups}
# Unicode files these where they do not look at home: a rock is no building, a feather no bird.
_UNFIT: Final = frozenset(
    (
        *("rock", "wood", "brick", "feather", "wing", "nest with eggs", "spider web", "microbe"),
        *("paw prints", "spiral shell", "coral", "stop sign", "wheel", "oil drum", "fuel pump"),
        *("construction", "motorway", "railway track", "bus stop", "station", "seat"),
        *("horizontal traffic light", "vertical traffic light", "police car light", "anchor", "ring buoy"),
        *("satellite", "parachute", "bone", "love letter", "heart exclamation", "thermometer", "droplet"),
        *("water wave", "fire", "wind face", "ice", "pouring liquid", "water pistol", "flag in hole"),
        *("goal net", "lipstick", "ring", "gem stone", "prayer beads", "hair pick", "folding hand fan"),
        *("sauropod", "nail polish", "selfie", "red paper lantern", "candle", "diya lamp"),
        *("magnifying glass tilted left", "magnifying glass tilted right", "film frames", "clapper board"),
    )
)
_FLAG_SUBGROUPS: Final = frozenset({"country-flag", "subdivision-flag"})
_MOST_KEYWORDS: Final = 6
_TYPEWRITER: Final = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'})


@dataclass(frozen=True, slots=True)
class Emoji:
    """One emoji. `code` is its code points in upper-case hex with hyphens, `label` its class (null: fits none)."""

    code: str
    name: str
    concept: str
    keywords: tuple[str, ...]
    label: str | None
    flag: bool


def emoji_table(folders: Folders) -> list[Emoji]:
    """Every emoji without skin tones, in Unicode's order, with its English CLDR name."""
    table = json.loads((folders[GOOGLE.name] / "package/emoji.json").read_text(encoding="utf-8"))
    names = json.loads((folders[NAMES.name] / "package/en/data.json").read_text(encoding="utf-8"))
    tags = json.loads((folders[KEYWORDS.name] / "package/dist/emoji-en-US.json").read_text(encoding="utf-8"))
    by_code = {_plain(entry["hexcode"]): entry for entry in names}
    result = []
    for entry in sorted(table, key=lambda entry: (int(entry["sort_order"]), str(entry["unified"]))):
        if entry["subcategory"] == "skin-tone":
            continue
        code, found = entry["unified"], by_code[_plain(entry["unified"])]
        text = "".join(chr(int(part, 16)) for part in code.split("-"))
        name = found["label"].translate(_TYPEWRITER)
        result.append(
            Emoji(
                code=code,
                name=name,
                concept=concept_of(name),
                keywords=_keywords(name, found.get("tags", []), tags.get(text, [])),
                label=None if name in _UNFIT else _CLASS_OF.get(entry["subcategory"]),
                flag=entry["subcategory"] in _FLAG_SUBGROUPS,
            )
        )
    return result


def _plain(code: str) -> str:
    """A code without the mark that only asks for a colourful drawing: packages differ in writing it."""
    return "-".join(part for part in code.split("-") if part.upper() != "FE0F")


def _keywords(name: str, *sources: list[str]) -> tuple[str, ...]:
    """Words that say more than the name does, the most agreed upon first."""
    said = set(name.lower().replace("-", " ").split())
    words = [str(word).replace("_", " ").lower() for source in sources for word in source]
    new = [word for word in dict.fromkeys(words) if word.replace(" ", "").isalpha() and not said & set(word.split())]
    return tuple(sorted(new, key=lambda word: -words.count(word))[:_MOST_KEYWORDS])
