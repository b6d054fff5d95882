"""The readers of the other sources, each on a few files of the shape that its package has."""

from __future__ import annotations

import gzip
import io
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data.builders import clip_art, digits, fashion, flags, flash_cards, icons, nebulae, stamps, wesnoth
from training.data.builders.emoji_table import Emoji
from training.data.builders.iconify import IconSet, slug_of
from training.data.builders.pictures import Dropped
from training.data.rows import DataError

pytestmark = pytest.mark.torch


def idx(array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.tobytes())


def test_fashion_keeps_the_official_split_and_drops_train_pictures_that_are_test_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "usr/share/datasets/fashion-mnist"
    folder.mkdir(parents=True)
    pictures = np.random.default_rng(0).integers(0, 256, (4, 28, 28), dtype=np.uint8)
    for part, chosen in (("train", [0, 1, 2]), ("t10k", [2, 3])):
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(pictures[chosen]))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(np.array(chosen, dtype=np.uint8)))
    dropped: Dropped = Counter()
    rows = list(fashion.read({fashion.PACKAGE.name: tmp_path}, dropped))
    assert [(row.label, row.test) for row in rows] == [
        ("t-shirt", False),
        ("trouser", False),
        ("pullover", True),
        ("dress", True),
    ]
    assert rows[1].captions[0] == "a photo of a pair of trousers"
    assert dropped.total() == 1
    with Image.open(io.BytesIO(rows[0].image)) as image:
        assert (np.asarray(image) == pictures[0]).all()


def test_an_idx_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 1]) + struct.pack(">I", 5) + b"abc"))
    with pytest.raises(DataError, match="not an IDX file"):
        fashion.read_idx(path)


def test_a_table_of_digits_is_read_as_square_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "sklearn/datasets/data"
    folder.mkdir(parents=True)
    line = ",".join(["0"] * 63 + ["16", "7"])
    (folder / "digits.csv.gz").write_bytes(gzip.compress(f"{line}\n".encode()))
    (row,) = digits.read_digits({digits.SCIKIT_LEARN.name: tmp_path}, Counter())
    assert row.label == "digit seven"
    with Image.open(io.BytesIO(row.image)) as image:
        pixels = np.asarray(image)
    assert pixels.shape == (32, 32)
    assert pixels[28:, 28:].min() == 255
    assert pixels[:28].max() == 0


def drawn(path: str, title: str = "", *keywords: str) -> clip_art._Drawing:
    return clip_art._Drawing(path, "", title, keywords)


@pytest.mark.parametrize(
    ("one", "name"),
    [
        (drawn("food/pizza_01.svg", "Pizza Slice"), "pizza slice"),
        (drawn("animals/crawfish_bw.svg", "Crawfish (B and W)"), "crawfish"),
        (drawn("recreation/party/balloon1_04.svg", "Clipart by Somebody - baloon9_1"), "balloon"),
        (drawn("people/stick_man_01.svg", "a title of many"), "stick man"),
        (drawn("people/man_in_hat_jane_doe.svg", "man"), "man"),
        (drawn("animals/aquila_architetto_fra_01.svg", "Aquila", "bird"), "bird"),
        (drawn("animals/aquila_architetto_fra_01.svg", "Aquila"), None),
        (drawn("unsorted/mucca.svg", "a title of many"), None),
        (drawn("food/x_01.svg", "Fuoco da campeggio"), None),
        (drawn("signs_and_symbols/flags/asia/japan.svg", "Japan"), "flag of japan"),
        (drawn("signs_and_symbols/flags/union_flag.svg", "Union Flag"), "union flag"),
        (drawn("shapes/12.svg", "12"), None),
    ],
)
def test_clip_art_is_named_by_its_title_unless_that_says_nothing(one: clip_art._Drawing, name: str | None) -> None:
    counts = Counter({one.title: 1}) | Counter({"a title of many": 6, "man": 60})
    assert clip_art.name_of(one, counts) == name


SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16" xmlns:dc="d" xmlns:rdf="r"><dc:title>{}</dc:title>'
    '<rdf:li>animal</rdf:li><rdf:li>hash(0x8a)</rdf:li><circle cx="8" cy="8" r="6" fill="{}"/></svg>'
)


def test_clip_art_leaves_series_out_and_counts_what_it_leaves(tmp_path: Path) -> None:
    root = tmp_path / "usr/share/openclipart/svg"
    for path, text in {
        "animals/pig_01.svg": SVG.format("Pig", "#e8a"),
        "animals/empty.svg": "<svg viewBox='0 0 1 1' xmlns='http://www.w3.org/2000/svg'><title>pig two</title></svg>",
        "shapes/stars/star.svg": SVG.format("Star", "#ee0"),
        "unsorted/x.svg": SVG.format("", "#111"),
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    dropped: Dropped = Counter()
    (pig,) = clip_art.read({clip_art.PACKAGE.name: tmp_path}, dropped)
    assert (pig.label, pig.concept, pig.name) == ("animal", "pig", "animals/pig_01.svg")
    assert "pig, animal" in pig.captions
    assert dropped == {
        "series, playing card, gradient or theme icon": 1,
        "no name in English": 1,
        "cannot be drawn: blank": 1,
    }


def test_team_colours_replace_magenta_and_keep_their_shading() -> None:
    sprite = Image.new("RGBA", (4, 1), (10, 20, 30, 255))
    shades = [tuple(wesnoth.MAGENTA[start : start + 3]) for start in (0, 3, 54)]
    for x, shade in enumerate(shades):
        sprite.putpixel((x, 0), (*shade, 255))
    middle, dark, light, other = np.array(wesnoth.recolour(sprite, "red"))[0].tolist()
    assert middle == [255, 0, 0, 255]
    assert dark[0] < 120
    assert dark[1:3] == [0, 0]
    assert light[0] == 255
    assert light[1] == light[2] > 100
    assert other == [10, 20, 30, 255]


def test_units_are_read_from_the_games_own_language(tmp_path: Path) -> None:
    (tmp_path / "units").mkdir()
    (tmp_path / "units/a.cfg").write_text(
        '[unit_type]\n    id=Elvish Archer\n    name= _ "Elvish Archer"\n    race=elf\n'
        '    image="units/elves/archer.png"\n    [attack]\n        name=sword\n    [/attack]\n'
    )
    (tmp_path / "units/b.cfg").write_text(
        '#define PATH_TEMP\nunits/dunefolk/rover/#enddef\n[unit_type]\n    name= _ "female^Dune Rover"\n'
        '    race=dunefolk\n    image="{PATH_TEMP}rover.png"\n'
    )
    (tmp_path / "units/c.cfg").write_text('[unit_type]\n    name= _ "Fog"\n    image="units/fog.png"\n')
    assert wesnoth.units(tmp_path) == [
        wesnoth.Unit("elvish archer", "elf", "units/elves/archer"),
        wesnoth.Unit("dune rover", "dunefolk", "units/dunefolk/rover/rover"),
    ]


def test_a_flag_is_matched_by_its_letters() -> None:
    def flag(code: str, name: str) -> Emoji:
        return Emoji(code, name, name, (), None, flag=True)

    assert flags.iso_code(flag("1F1EB-1F1F7", "flag: France")) == "fr"
    assert flags.iso_code(flag("1F3F4-E0067-E0062-E007F", "flag: Scotland")) is None
    assert flags.country_of(flag("1F1E7-1F1EB", "flag: Burkina Faso")) == "Burkina Faso"


def test_icons_go_round_the_colours_and_share_concepts_with_their_variants() -> None:
    body = '<path d="M2 2h12v12h-{}z" fill="currentColor"/>'
    names = ("abstract-001", "like", "like-two", "sword", "tree", "house", "shield")
    icon_set = IconSet({name: {"body": body.format(i + 4)} for i, name in enumerate(names)}, {}, {}, {}, 16, 16)
    dropped: Dropped = Counter()
    rows = list(icons._pictures(icon_set, {"sword": "weapon"}, icons.PAIRS, dropped))
    assert [row.extra["name"] for row in rows] == sorted(name.replace("-", " ") for name in names[1:])
    assert dropped == {"abstract pattern": 1}
    assert len({row.concept for row in rows}) == len(rows) - 1
    corners = set()
    for row in rows:
        with Image.open(io.BytesIO(row.image)) as image:
            corners.add(image.getpixel((0, 0)))
    assert corners == {background for _, background in icons.PAIRS}


def test_an_emojis_name_becomes_the_name_of_its_icon() -> None:
    assert slug_of("woman's hat") == "womans-hat"
    assert slug_of("piñata") == "pinata"
    assert slug_of("flag: Trinidad & Tobago") == "flag-trinidad-tobago"


def test_stamps_have_sentences_and_come_without_letters_and_mirror_images(tmp_path: Path) -> None:
    root = tmp_path / "usr/share/tuxpaint/stamps"
    disc = Image.new("RGBA", (40, 40))
    disc.paste((200, 40, 40, 255), (5, 5, 35, 30))
    for path in ("animals/hen.png", "animals/hen_mirror.png", "symbols/alphabets/english/a.png", "town/flags/red.png"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        disc.save(root / path)
    (root / "animals/hen.txt").write_text("A brown hen.\nde.utf8=Eine Henne.\n", encoding="utf-8")
    dropped: Dropped = Counter()
    rows = list(stamps.read({stamps.PACKAGE.name: tmp_path}, dropped))
    assert [(row.name, row.captions, row.label) for row in rows] == [
        ("animals/hen.png", ("A brown hen.",), "animal"),
        ("town/flags/red.png", ("red",), "flag"),
    ]
    assert dropped == {"letter": 1, "mirror image of another": 1}


def test_flash_cards_are_named_by_their_files(tmp_path: Path) -> None:
    folder = tmp_path / "usr/share/games/pysiogame/res/images/art4apps/animals"
    folder.mkdir(parents=True)
    card = Image.new("RGB", (200, 200), "white")
    card.paste((120, 80, 20), (40, 40, 160, 160))
    card.save(folder / "baby_rabbit.jpg")
    (row,) = flash_cards.read({flash_cards.PACKAGE.name: tmp_path}, Counter())
    assert row.label == "animal"
    assert row.captions[0] == "baby rabbit"


def catalogue(*objects: tuple[int, dict[int, int]], version: str = nebulae.CATALOGUE_VERSION) -> bytes:
    """Stellarium's catalogue with the given (kind, column to number) objects."""

    def text(content: str) -> bytes:
        return struct.pack(">I", 2 * len(content)) + content.encode("utf-16-be")

    data = text(version) + text("standard")
    for number, (kind, columns) in enumerate(objects, start=1):
        numbers = [columns.get(column, 0) for column in range(14)]
        data += struct.pack(">i4di", number, 0, 0, 0, 0, kind) + text("Sb")
        data += struct.pack(">2di6d14i", *[0] * 9, *numbers) + text("") + struct.pack(">2i", 0, 0)
        data += b"".join(text("x") for _ in range(7)) + struct.pack(">5i", *[0] * 5)
    return gzip.compress(data)


def test_photographs_of_the_sky_get_kind_and_name_from_the_catalogue(tmp_path: Path) -> None:
    root = tmp_path / "usr/share/stellarium/nebulae/default"
    root.mkdir(parents=True)
    (root / "catalog.dat").write_bytes(catalogue((0, {0: 224, 2: 31}), (18, {2: 1}), (28, {2: 40})))
    (root / "names.dat").write_text('# comment\nM    1               _("Crab Nebula") # WK\n', encoding="utf-8")
    for name in ("m31", "n224-other", "m1dumont", "m40", "lmc_01"):
        Image.new("RGB", (120, 90), (20, 20, len(name) * 9)).save(root / f"{name}.png")
    dropped: Dropped = Counter()
    rows = list(nebulae.read({nebulae.PACKAGE.name: tmp_path}, dropped))
    assert [(row.name, row.label) for row in rows] == [
        ("m1dumont.png", "supernova remnant"),
        ("m31.png", "galaxy"),
    ]
    assert "Crab Nebula, a supernova remnant" in rows[0].captions
    assert dropped == {"not one object of a known kind": 2, "another photograph of one object": 1}


@pytest.mark.parametrize(
    "data",
    [catalogue((0, {}), version="4.0"), gzip.compress(gzip.decompress(catalogue((0, {})))[:-2])],
    ids=["version", "cut short"],
)
def test_another_catalogue_of_the_sky_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "catalog.dat").write_bytes(data)
    with pytest.raises(DataError, match="catalogue"):
        nebulae.read_catalogue(tmp_path / "catalog.dat")
