"""Everything that the study of experts reads, in one file that travels: pictures, words, dense labels, both towers.

Pictures are kept at the size that towers are fine-tuned at, as lossy WebP (`QUALITY`); labels as they lie in stores
(`training.experts.labels.encoding`); weights rounded to float16, as the model repository ships them. What is measured
anywhere is measured on these pixels, labels and weights. Reading a pack needs neither the data nor the gateway's
packages.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor

from training.adapters.pack import decode_picture
from training.checkpoint import CheckpointError, load_tensors, save_tensors
from training.data.rows import DataError
from training.experts.labels.encoding import Encoded
from training.experts.protocol import Kind

QUALITY: Final = 90
FORMAT: Final = 2
HINT: Final = "`python -m training.experts pack` writes one"

Pixels = npt.NDArray[np.uint8]
Box = tuple[str, float, float, float, float]


@dataclass(frozen=True)
class PackedRow:
    """A row without its picture. boxes: class, left, top, right, bottom as shares of the picture's sides; behind: which
    photograph a picture that was made here has in it, "" for none; its terms are the photograph's."""

    captions: tuple[str, ...]
    label: str | None
    digest: str
    boxes: tuple[Box, ...] = ()
    behind: str = ""


@dataclass(frozen=True, eq=False)
class PackedMaps:
    """Dense labels of one kind of a set's pictures, null for a picture without; by: whose they are; classes: as in
    `Identity`."""

    kind: Kind
    by: str
    classes: tuple[str, ...]
    maps: tuple[Encoded | None, ...]


@dataclass(frozen=True, eq=False)
class PackedSet:
    """Pictures that serve one purpose. source: where they come from; classes: names of their labels, all in order;
    maps: by origin and task ("pseudo-classes", "exact-depth")."""

    source: str
    rows: tuple[PackedRow, ...]
    pictures: tuple[bytes, ...]
    classes: tuple[str, ...] = ()
    maps: dict[str, PackedMaps] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def without_photographs(self, most: int) -> list[int]:
        """The first `most` rows whose pictures have no photograph of another source in them."""
        return [number for number, row in enumerate(self.rows) if not row.behind][:most]

    def decoded(self, workers: int = 2) -> Pixels:
        """uint8[n, side, side, 3], in order of the rows."""
        with ThreadPoolExecutor(workers) as pool:
            return np.stack(list(pool.map(decode_picture, self.pictures, chunksize=128)))


@dataclass(frozen=True, eq=False)
class PackedTower:
    """A trained backbone: the zoo configuration `model`, its weights (float16) and its tokenizer."""

    model: str
    weights: dict[str, Tensor]
    tokenizer: Tokenizer


@dataclass(frozen=True, eq=False)
class ExpertPack:
    """side: of all pictures and labels in pixels; towers: by name; sets: by purpose."""

    side: int
    towers: dict[str, PackedTower]
    sets: dict[str, PackedSet]

    def chosen(self, name: str) -> PackedSet:
        """The set `name`. Raises `DataError` where there is none."""
        if name not in self.sets:
            raise DataError(f'the pack has no set "{name}", only {", ".join(self.sets)}')
        return self.sets[name]


def encode_picture(pixels: Pixels) -> bytes:
    """WebP of uint8[h, w, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=QUALITY)
    return buffer.getvalue()


def digest_of(path: Path) -> str:
    """sha256 of the file, in hex. Raises `DataError` where there is none."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; {HINT}")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_expert_pack(path: Path, pack: ExpertPack) -> int:
    """Write `pack`; returns the file's size in bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    for name, each in pack.sets.items():
        tensors |= _blobs(f"sets/{name}/pictures", each.pictures)
        for key, maps in each.maps.items():
            tensors |= _blobs(f"sets/{name}/{key}", [b"" if one is None else one.payload for one in maps.maps])
            ranges = [(np.nan, np.nan) if one is None else (one.low, one.high) for one in maps.maps]
            tensors[f"sets/{name}/{key}/range"] = torch.tensor(ranges, dtype=torch.float64)
    for name, tower in pack.towers.items():
        tensors |= {f"towers/{name}/{key}": value.half() for key, value in tower.weights.items()}
    save_tensors(path, tensors, _describe(pack))
    return path.stat().st_size


def _describe(pack: ExpertPack) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "kind": "experts",
        "side": pack.side,
        "towers": {name: [each.model, each.tokenizer.to_str()] for name, each in pack.towers.items()},
        "sets": {
            name: {
                "source": each.source,
                "classes": each.classes,
                "rows": [[row.captions, row.label, row.digest, row.boxes, row.behind] for row in each.rows],
                "maps": {key: [maps.kind, maps.by, maps.classes] for key, maps in each.maps.items()},
            }
            for name, each in pack.sets.items()
        },
    }


def _blobs(name: str, contents: Sequence[bytes]) -> dict[str, Tensor]:
    ends = np.cumsum([len(content) for content in contents], dtype=np.int64)
    blob = np.frombuffer(b"".join(contents), dtype=np.uint8)
    return {f"{name}/bytes": torch.from_numpy(blob.copy()), f"{name}/ends": torch.from_numpy(ends)}


def load_expert_pack(path: Path) -> ExpertPack:
    """The pack at `path`. Raises `DataError` where there is none."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; {HINT}")
    try:
        tensors, metadata = load_tensors(path)
    except CheckpointError as error:
        raise DataError(f"{path}: not a pack; {HINT}") from error
    if (metadata.get("kind"), metadata.get("format")) != ("experts", FORMAT):
        raise DataError(f"{path}: not a pack of this version; {HINT}")
    towers = {}
    for name, (model, tokenizer) in metadata["towers"].items():
        start = f"towers/{name}/"
        weights = {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
        towers[name] = PackedTower(model, weights, Tokenizer.from_str(tokenizer))
    sets = {name: _set(f"sets/{name}", table, tensors) for name, table in metadata["sets"].items()}
    return ExpertPack(metadata["side"], towers, sets)


def _set(start: str, table: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> PackedSet:
    maps = {}
    for key, (kind, by, classes) in table["maps"].items():
        ranges = tensors[f"{start}/{key}/range"].tolist()
        encoded = [
            Encoded(payload, low, high) if payload else None
            for payload, (low, high) in zip(_contents(f"{start}/{key}", tensors), ranges, strict=True)
        ]
        maps[key] = PackedMaps(Kind(kind), by, tuple(classes), tuple(encoded))
    rows = [
        PackedRow(tuple(captions), label, digest, tuple((str(name), *corners) for name, *corners in boxes), behind)
        for captions, label, digest, boxes, behind in table["rows"]
    ]
    pictures = tuple(_contents(f"{start}/pictures", tensors))
    return PackedSet(table["source"], tuple(rows), pictures, tuple(table["classes"]), maps)


def _contents(name: str, tensors: Mapping[str, Tensor]) -> Iterator[bytes]:
    blob, ends = tensors[f"{name}/bytes"].numpy().tobytes(), [0, *tensors[f"{name}/ends"].tolist()]
    return (blob[start:end] for start, end in pairwise(ends))
