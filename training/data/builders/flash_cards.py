"""Art4Apps flash cards as the game pySioGame carries them. No tower is trained on them."""

from collections.abc import Iterator
from typing import Final

from PIL import Image

from training.data.builders.concepts import concept_of, held_out, spoken
from training.data.builders.packages import Package
from training.data.builders.pictures import Dropped, Folders, Picture, Source
from training.data.builders.render import square, webp

PACKAGE: Final = Package(
    "apt", "pysiogame", "4.20.01-1", "6b22766dfd8ef3a046c2665fe2598ac8a1ecee3d331bda38accf53de65bc59bf"
)
TEST_SHARE: Final = 0.7

# Folders under words that make sense behind "a photo of a".
CLASSES: Final = {
    "actions": "person doing something",
    "animals": "animal",
    "body": "body part",
    "clothes_n_accessories": "piece of clothing",
    "construction": "building",
    "food": "meal",
    "fruit_n_veg": "fruit or vegetable",
    "jobs": "person at work",
    "nature": "landscape",
    "people": "person",
    "sport": "sport",
    "transport": "vehicle",
}


def read(folders: Folders, _dropped: Dropped) -> Iterator[Picture]:
    """All cards; test rows by word."""
    root = folders[PACKAGE.name] / "usr/share/games/pysiogame/res/images/art4apps"
    for folder, label in CLASSES.items():
        for path in sorted((root / folder).glob("*.jpg"), key=lambda path: path.name):
            with Image.open(path) as image:
                card = square(image.convert("RGBA"))
            word = spoken(path.stem)
            concept = concept_of(word)
            yield Picture(
                image=webp(card),
                captions=(word, f"a drawing of {word}", f"a flash card that shows {word}"),
                label=label,
                test=held_out(concept, TEST_SHARE),
                name=f"{folder}/{path.name}",
                concept=concept,
            )


SOURCE = Source(
    name="flash_cards",
    packages=(PACKAGE,),
    licence="CC BY-SA (version not stated)",
    attribution="Art4Apps by Smart4Kids, http://www.art4apps.org, as packed with pySioGame",
    read=read,
    pool="drawings",
)
