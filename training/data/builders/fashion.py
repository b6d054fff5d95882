"""Fashion-MNIST: 70,000 greyscale pictures of clothes, 28 pixels wide, in the official split."""

import gzip
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.data.builders.packages import Package
from training.data.builders.pictures import Dropped, Folders, Picture, Source
from training.data.builders.render import grey_png
from training.data.rows import DataError

PACKAGE = Package(
    "apt",
    "dataset-fashion-mnist",
    "0.0~git20200523.55506a9-1",
    "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
)

# The class, and how a sentence speaks of one of them.
CLASSES = (
    ("t-shirt", "a t-shirt"),
    ("trouser", "a pair of trousers"),
    ("pullover", "a pullover"),
    ("dress", "a dress"),
    ("coat", "a coat"),
    ("sandal", "a sandal"),
    ("shirt", "a shirt"),
    ("sneaker", "a sneaker"),
    ("bag", "a bag"),
    ("ankle boot", "an ankle boot"),
)
TEMPLATES = (
    "a photo of {}",
    "a greyscale picture of {}",
    "a small grey picture of {} on black",
    "{}, a piece of fashion",
)


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """The array in a gzipped IDX file of bytes. Raises `DataError` for another kind of file."""
    data = gzip.decompress(path.read_bytes())
    kind, dimensions = data[2], data[3]
    shape = struct.unpack_from(f">{dimensions}I", data, 4)
    if data[:2] != b"\0\0" or kind != 8 or len(data) != 4 + 4 * dimensions + np.prod(shape):
        raise DataError(f"{path}: not an IDX file of unsigned bytes")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def read(folders: Folders, dropped: Dropped) -> Iterator[Picture]:
    """All pictures, the official train part first; train pictures that are also test pictures are left out."""
    folder = folders[PACKAGE.name] / "usr/share/datasets/fashion-mnist"
    test_images = {image.tobytes() for image in read_idx(folder / "t10k-images-idx3-ubyte.gz")}
    for part in ("train", "t10k"):
        images = read_idx(folder / f"{part}-images-idx3-ubyte.gz")
        labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz")
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            if part == "train" and image.tobytes() in test_images:
                dropped["train picture equal to a test picture"] += 1
                continue
            name, phrase = CLASSES[label]
            yield Picture(
                image=grey_png(image),
                captions=tuple(template.format(phrase) for template in TEMPLATES),
                label=name,
                test=part == "t10k",
                name=f"{part}-images-idx3-ubyte.gz/{i}",
            )


SOURCE = Source(
    name="fashion_mnist",
    packages=(PACKAGE,),
    licence="MIT (Expat)",
    attribution="Fashion-MNIST, copyright 2017 Zalando SE, https://github.com/zalandoresearch/fashion-mnist",
    read=read,
)
