"""Open Clip Art Library: drawings by many hands, with titles and keywords."""

import html
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from training.data.builders.concepts import concept_of, first_fit, held_out_of_classes, spoken, with_article
from training.data.builders.packages import Package
from training.data.builders.pictures import Dropped, Folders, Picture, Source
from training.data.builders.render import RenderError, drawing

PACKAGE: Final = Package(
    "apt", "openclipart-svg", "1:0.18+dfsg-19", "989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5"
)
ROOT: Final = "usr/share/openclipart/svg"
TEST_SHARE: Final = 0.15
SHARED_BY_MANY: Final = 5
"""A title that more files have says nothing about any of them; their file names do."""

# Series of one drawing in many sizes or colours, and icons of programs that mean nothing as pictures.
LEFT_OUT: Final = (
    "shapes/stars/",
    "recreation/games/cards/",
    "special/gradients/",
    "special/examples/",
    "computer/icons/",
    "unsorted/duplicates/",
)
# The class by folder; the first that fits counts. Folders without a word of their own have no class.
CLASSES: Final = (
    ("signs_and_symbols/flags/semaphore", "sign"),
    ("signs_and_symbols/flags", "flag"),
    ("signs_and_symbols/weather", "weather"),
    ("signs_and_symbols", "sign"),
    ("transportation/roadsigns", "sign"),
    ("transportation/aiga-symbols", "sign"),
    ("transportation", "vehicle"),
    ("recreation/music", "musical instrument"),
    ("recreation/sports", "sport"),
    ("recreation/toys", "toy"),
    ("recreation/party", "party"),
    ("recreation/holiday", "party"),
    ("tools/weapons", "weapon"),
    ("tools", "tool"),
    ("people/clothing", "clothing"),
    ("people/bodypart", "body part"),
    ("people", "person"),
    ("special/patterns", "pattern"),
    ("shapes", "shape"),
    ("animals", "animal"),
    ("buildings", "building"),
    ("computer", "computer"),
    ("food", "food"),
    ("geography", "map"),
    ("office", "office supply"),
    ("plants", "plant"),
)
_TITLE = re.compile(r"<dc:title>([^<]*)</dc:title>")
_KEYWORD = re.compile(r"<rdf:li>([^<]*)</rdf:li>")
# Keywords that say nothing about what is seen, and words that only Italian titles have.
_USELESS: Final = frozenset(
    (
        *("hash", "unsorted", "icon", "icons", "misc", "clipart", "clip", "art", "part", "special"),
        *("mapsym", "weathersym", "musicsym", "networksym", "signs and symbols", "united nations member"),
        *("mimetypes", "mime-types", "unofficial", "menu"),
    )
)
_ITALIAN: Final = frozenset({"da", "di", "del", "della", "col", "con", "per", "e"})
# File names end in their authors; these would otherwise be part of the name.
_AUTHORS = re.compile(r"\b(?:nicu|zazou|jean victor|architetto|juliane|josu|ganson)\b.*")


@dataclass(frozen=True, slots=True)
class _Drawing:
    """`path` relative to the library's root; `title` and `keywords` as its author wrote them."""

    path: str
    svg: str
    title: str
    keywords: tuple[str, ...]


def _read(root: Path, path: Path) -> _Drawing:
    svg = path.read_text(encoding="utf-8", errors="replace")
    title = _TITLE.search(svg)
    words = (html.unescape(word).replace("_", " ").strip().lower() for word in _KEYWORD.findall(svg))
    keywords = dict.fromkeys(word for word in words if re.fullmatch(r"[a-z][a-z -]{2,}", word))
    return _Drawing(
        path=path.relative_to(root).as_posix(),
        svg=svg,
        title=" ".join(html.unescape(title[1]).split()) if title else "",
        keywords=tuple(word for word in keywords if word not in _USELESS),
    )


def _by_italian(drawing_: _Drawing) -> bool:
    """Whether one prolific author drew it, whose titles are Italian and whose keywords are not."""
    return "archit" in Path(drawing_.path).stem.lower() or any("architett" in word for word in drawing_.keywords)


def name_of(drawing_: _Drawing, title_counts: Counter[str]) -> str | None:
    """What a drawing shows, in words; null where neither title nor file name says it in English."""
    if _by_italian(drawing_):
        return next((word for word in drawing_.keywords if "archit" not in word), None)
    stem = spoken(re.sub(r"\d+", " ", Path(drawing_.path).stem)).lower()
    title = drawing_.title
    shared = not title or title_counts[title] > SHARED_BY_MANY or "clipart" in title.lower()
    if shared and not (title and stem.startswith(spoken(title).lower())):
        if drawing_.path.startswith("unsorted/"):
            return None
        title = _AUTHORS.sub("", stem)
    name = spoken(re.sub(r"\((?:B and W|b ?& ?w)\)|[#()\[\]]", " ", title, flags=re.IGNORECASE)).lower()
    name = " ".join(re.sub(r"\b(?:aiga|bw|r\d+|clip ?art)\b", " ", name).split())
    if not re.search(r"[a-z]{3}", name) or _ITALIAN & set(name.split()):
        return None
    return f"flag of {name}" if _class_of(drawing_) == "flag" and "flag" not in name else name


def _class_of(drawing_: _Drawing) -> str | None:
    return first_fit(drawing_.path, CLASSES)


def captions_of(name: str, keywords: tuple[str, ...], label: str | None) -> tuple[str, ...]:
    """What can be said about a drawing."""
    texts = [name, f"a drawing of {name}", f"clip art of {name}"]
    words = [word for word in keywords if word not in name and "archit" not in word]
    if words:
        texts.append(", ".join((name, *words[:3])))
    if label:
        texts += [f"{name}, {with_article(label)}", f"a drawing of {with_article(label)}"]
    return tuple(dict.fromkeys(texts))


def _named(root: Path, dropped: Dropped) -> list[tuple[_Drawing, str]]:
    """Every drawing that is no member of a series, with its name."""
    paths = sorted(root.rglob("*.svg"), key=lambda path: path.relative_to(root).as_posix())
    drawings = [_read(root, path) for path in paths]
    counts = Counter(one.title for one in drawings)
    named = []
    for one in drawings:
        name = name_of(one, counts)
        if one.path.startswith(LEFT_OUT):
            dropped["series, playing card, gradient or theme icon"] += 1
        elif name is None:
            dropped["no name in English"] += 1
        else:
            named.append((one, name))
    return named


def read(folders: Folders, dropped: Dropped) -> Iterator[Picture]:
    """Every drawing that has a name; test rows by concept, so that versions of one drawing stay together."""
    named = _named(folders[PACKAGE.name] / ROOT, dropped)
    concepts = [concept_of(re.sub(r"\d+", " ", name)) for _, name in named]
    classes = {concept: _class_of(one) for concept, (one, _) in zip(concepts, named, strict=True)}
    unseen = held_out_of_classes(classes, TEST_SHARE)
    for concept, (one, name) in zip(concepts, named, strict=True):
        try:
            image = drawing(one.svg)
        except RenderError as error:
            dropped[f"cannot be drawn: {error}"] += 1
            continue
        label = _class_of(one)
        yield Picture(
            image=image,
            captions=captions_of(name, one.keywords, label),
            label=label,
            test=concept in unseen,
            name=one.path,
            concept=concept,
            extra={"name": name},
        )


SOURCE = Source(
    name="clip_art",
    packages=(PACKAGE,),
    licence="public domain",
    attribution="Open Clip Art Library 0.18 and its contributors",
    read=read,
    pool="drawings",
    broad_labels=True,
)
