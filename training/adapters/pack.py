"""Everything that the adapter experiments read, in one file that travels: pictures, texts, tokenizer, frozen weights.

Pictures are kept as the tower takes them, at its own size, as lossy WebP (`QUALITY`); the weights are rounded to
float16, as the model repository ships them. What is measured anywhere is measured on these pixels and weights. Reading
a pack needs neither the data nor the gateway's packages.
"""

import io
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor

from training.checkpoint import load_tensors, save_tensors
from training.data.rows import DataError

QUALITY: Final = 80
"""Of WebP. Lossless pictures would take four times the room."""

PACK: Final = "pack.safetensors"
FORMAT: Final = 1
WEIGHTS: Final = "backbone."

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PackedRow:
    """A row without its picture. A label that is broad (see `Row`) is left out."""

    source: str
    split: str
    captions: tuple[str, ...]
    label: str | None
    digest: str


@dataclass(frozen=True, eq=False)
class Pack:
    """`pictures[i]`: encoded, of `rows[i]`. `classes`: by source that has labels, all of them in order.

    `backbone`: its name; `model`: the zoo configuration that `weights` (float16) belong to.
    """

    backbone: str
    model: str
    weights: dict[str, Tensor]
    tokenizer: Tokenizer
    rows: tuple[PackedRow, ...]
    pictures: tuple[bytes, ...]
    classes: dict[str, tuple[str, ...]]

    def decoded(self, workers: int = 4) -> Pixels:
        """uint8[n, side, side, 3], every picture in order of the rows."""
        with ThreadPoolExecutor(workers) as pool:
            return np.stack(list(pool.map(decode_picture, self.pictures, chunksize=256)))

    def chosen(self, split: str, sources: Iterable[str]) -> npt.NDArray[np.int64]:
        """Positions of the rows of one split and of `sources`, in order."""
        wanted = set(sources)
        places = [i for i, row in enumerate(self.rows) if row.split == split and row.source in wanted]
        return np.array(places, dtype=np.int64)


def encode_picture(pixels: Pixels) -> bytes:
    """WebP of uint8[h, w, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=QUALITY)
    return buffer.getvalue()


def decode_picture(content: bytes) -> Pixels:
    """uint8[h, w, 3] of what `encode_picture` made."""
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGB"))


def save_pack(path: Path, pack: Pack) -> int:
    """Write `pack`; returns the file's size in bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blob = np.frombuffer(b"".join(pack.pictures), dtype=np.uint8)
    ends = np.cumsum([len(content) for content in pack.pictures], dtype=np.int64)
    tensors = {"pictures": torch.from_numpy(blob.copy()), "ends": torch.from_numpy(ends)}
    tensors |= {f"{WEIGHTS}{name}": value.half() for name, value in pack.weights.items()}
    metadata: dict[str, Any] = {
        "format": FORMAT,
        "backbone": pack.backbone,
        "model": pack.model,
        "tokenizer": pack.tokenizer.to_str(),
        "classes": pack.classes,
        "rows": [[row.source, row.split, list(row.captions), row.label, row.digest] for row in pack.rows],
    }
    save_tensors(path, tensors, metadata)
    return path.stat().st_size


def load_pack(path: Path) -> Pack:
    """The pack at `path`. Raises `DataError` where there is none."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; write it with `python -m training adapter-pack`")
    tensors, metadata = load_tensors(path)
    if metadata.get("format") != FORMAT:
        raise DataError(f"{path}: not a pack of this version; write it again with `python -m training adapter-pack`")
    blob, ends = tensors["pictures"].numpy().tobytes(), [0, *tensors["ends"].tolist()]
    return Pack(
        backbone=metadata["backbone"],
        model=metadata["model"],
        weights={key.removeprefix(WEIGHTS): value for key, value in tensors.items() if key.startswith(WEIGHTS)},
        tokenizer=Tokenizer.from_str(metadata["tokenizer"]),
        rows=tuple(_row(*fields) for fields in metadata["rows"]),
        pictures=tuple(blob[start:end] for start, end in pairwise(ends)),
        classes={source: tuple(names) for source, names in metadata["classes"].items()},
    )


def _row(source: str, split: str, captions: Sequence[str], label: str | None, digest: str) -> PackedRow:
    return PackedRow(source, split, tuple(captions), label, digest)
