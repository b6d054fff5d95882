"""Pictures and experts for tests of labelling."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from service.model_config import Preprocessing
from training.data.rows import Row
from training.experts.protocol import Dense, Identity, Kind, Pictures

SEEN = Preprocessing(16, "shortest", "bicubic", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def picture_row(number: int) -> Row:
    """A picture of one colour, which differs with `number` (up to 250)."""
    buffer = io.BytesIO()
    Image.new("RGB", (20, 16), (number, number, number)).save(buffer, "PNG")
    return encoded_row(buffer.getvalue())


def encoded_row(image: bytes) -> Row:
    return Row(image, hashlib.sha256(image).hexdigest(), ("a caption",), None, "made up", test=False)


def brightness(images: Pictures) -> Dense:
    """The class of every pixel is its red channel."""
    return np.ascontiguousarray(images[..., 0])


@dataclass
class MadeUpExpert:
    """Answers with `answer`; `asked` keeps the sizes of the batches that it was given."""

    answer: Callable[[Pictures], Dense] = brightness
    kind: Kind = Kind.CLASSES
    version: str = "1"
    asked: list[int] = field(default_factory=list)

    @property
    def identity(self) -> Identity:
        return Identity("made-up", self.version, "00" * 32, self.kind)

    def __call__(self, images: Pictures) -> Dense:
        self.asked.append(len(images))
        return self.answer(images)


def refusing(numbers: Sequence[int]) -> Callable[[Pictures], Dense]:
    """`brightness`, which raises for a batch with a picture of one of `numbers`."""

    def answer(images: Pictures) -> Dense:
        for image in images:
            if int(image[0, 0, 0]) in numbers:
                raise ZeroDivisionError(f"picture {image[0, 0, 0]} divides by zero")
        return brightness(images)

    return answer
