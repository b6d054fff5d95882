"""Making the pack of the study out of rows, stores of labels and training runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer

from service.model_config import Preprocessing
from training.checkpoint import CheckpointError, load_average
from training.config import parse_config
from training.data.rows import DataError, Row
from training.data.samples import decode_rows
from training.data.sources import DataDirs, available_sources, read_rows, source_files
from training.data.splits import Split, assign_splits
from training.experts.dense_source import label_folder, read_extras
from training.experts.errors import ExpertError
from training.experts.labels.encoding import encode
from training.experts.labels.store import LabelStore
from training.experts.packs.pack import (
    Box,
    ExpertPack,
    PackedMaps,
    PackedRow,
    PackedSet,
    PackedTower,
    encode_picture,
)
from training.experts.protocol import Kind
from training.journal import FINAL
from training.models.text import TOKENIZER

SIDE: Final = 96
RUNS: Final = ("vit-s", "resnet-l")
DENSE: Final = {"classes": "exact-classes", "depth": "exact-depth", "normals": "exact-normals"}
"""By task the store of exact labels that probes learn from and are measured by."""
TAUGHT: Final = DENSE | {"depth": "exact-disparity"}
"""The same for a fit: what an expert for depth is taught, and therefore what a head is."""
TASK_OF: Final = {Kind.CLASSES: "classes", Kind.DEPTH: "depth", Kind.DISPARITY: "depth", Kind.NORMALS: "normals"}


@dataclass(frozen=True)
class Wanted:
    """What a set is made of: at most `most` rows of `source`, of one split (null: whatever it is), in order of their
    digests. exact: by task the store of exact labels; pseudo: whether experts' labels go with it."""

    source: str
    split: Split | None
    most: int
    exact: Mapping[str, str]
    pseudo: bool = False


def _plain(source: str, split: Split, most: int) -> Wanted:
    return Wanted(source, split, most, {})


WANTED: Final[dict[str, Wanted]] = {
    # Rows that trained the towers: fine-tuning is training, and the other splits are kept for what follows it.
    "photographs": Wanted("flickr8k", Split.TOWER_TRAIN, 3000, {}, pseudo=True),
    "scenes_fit": Wanted("scenes_fit", None, 3000, TAUGHT, pseudo=True),
    "scenes_probe": Wanted("scenes_probe", None, 1500, DENSE),
    "scenes_test": Wanted("scenes_test", None, 600, DENSE),
    "composites_probe": Wanted("composites_probe", None, 1200, {"classes": "exact-classes"}),
    "composites_test": Wanted("composites_test", None, 400, {"classes": "exact-classes"}),
    "tiny_imagenet": _plain("tiny_imagenet", Split.TEST, 2000),
    "cifar100": _plain("cifar100", Split.TEST, 2000),
    "grocery_store": _plain("grocery_store", Split.TEST, 1500),
    "flickr8k": _plain("flickr8k", Split.TEST, 1000),
    # Neither fitted on nor tested: what rates are chosen by.
    "calibrate": _plain("flickr8k", Split.CALIBRATE, 1000),
    "clothing": _plain("clothing", Split.TEST, 400),
    "cifar100_fit": _plain("cifar100", Split.FIT, 1500),
    "clothing_fit": _plain("clothing", Split.FIT, 2000),
}


def make_expert_pack(
    data: DataDirs,
    labels: Sequence[Path],
    runs: Sequence[Path],
    *,
    wanted: Mapping[str, Wanted] = WANTED,
    side: int = SIDE,
    progress: Callable[[str], None],
) -> ExpertPack:
    """The rows of `wanted` at `side` pixels with their labels, and the weight averages of the finished `runs`.

    labels: folders of experts' labels, several for one task where they are of one expert. Raises `DataError` for rows
    or labels that are missing, `ExpertError` for labels that do not fit, `CheckpointError` for an unfinished run.
    """
    towers = {path.name: read_tower(path) for path in runs}
    stores = [LabelStore(folder) for folder in labels]
    progress("reading every source, for pictures that two of them share")
    assigned = assign_splits(read_rows(data, available_sources(data)))
    packer = _Packer(data, stores, Preprocessing(side, "shortest", "bicubic", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    sets = {}
    for name, each in wanted.items():
        sets[name] = packer.pack(each, assigned)
        progress(f"{name}: {len(sets[name])} pictures, {', '.join(sets[name].maps) or 'no labels'}")
    return ExpertPack(side, towers, sets)


def read_tower(run: Path) -> PackedTower:
    """The weight average of a finished training run with its tokenizer. Raises `CheckpointError`."""
    if not (run / FINAL).is_file() or not (run / TOKENIZER).is_file():
        raise CheckpointError(f"{run}: no {FINAL} with its {TOKENIZER} here; train or restore it first")
    weights, metadata = load_average(run / FINAL)
    config = parse_config(metadata["config"], str(run))
    return PackedTower(config.model, weights, Tokenizer.from_file(str(run / TOKENIZER)))


@dataclass(frozen=True)
class _Packer:
    data: DataDirs
    stores: Sequence[LabelStore]
    preprocessing: Preprocessing

    def pack(self, wanted: Wanted, assigned: Sequence[tuple[Row, Split]]) -> PackedSet:
        mine = [(row, split) for row, split in assigned if row.source == wanted.source]
        rows = [row for row, split in mine if wanted.split in (None, split)]
        rows = sorted(rows, key=lambda row: row.digest)[: wanted.most]
        if not rows:
            raise DataError(f"{wanted.source}: no row of the split {wanted.split or 'any'}")
        digests = [row.digest for row in rows]
        maps = {f"exact-{task}": self._exact(wanted.source, store, digests) for task, store in wanted.exact.items()}
        if wanted.pseudo:
            maps |= self._pseudo(wanted.source, digests)
        drawn = self._drawn(wanted.source) if wanted.exact else {}
        images = decode_rows(rows, self.preprocessing).images
        names = sorted({row.label for row, _ in mine if row.label and not row.broad})
        return PackedSet(
            wanted.source,
            tuple(_row(row, *drawn.get(row.digest, ((), ""))) for row in rows),
            tuple(encode_picture(pixels) for pixels in images),
            tuple(names),
            maps,
        )

    def _exact(self, source: str, store: str, digests: Sequence[str]) -> PackedMaps:
        folders = [label_folder(folder, source, store) for folder in _folders(self.data)]
        found = [folder for folder in folders if folder.is_dir()]
        if not found:
            raise DataError(f"{source}: no labels {store} beside its rows")
        return self._maps([LabelStore(found[0])], digests)

    def _pseudo(self, source: str, digests: Sequence[str]) -> dict[str, PackedMaps]:
        by_task: dict[str, list[LabelStore]] = {}
        for store in self.stores:
            by_task.setdefault(TASK_OF[store.description.identity.kind], []).append(store)
        missing = [task for task in TAUGHT if not by_task.get(task)]
        if missing:
            raise DataError(f"{source}: no expert's labels for {', '.join(missing)}; give their folders by --labels")
        return {f"pseudo-{task}": self._maps(by_task[task], digests) for task in TAUGHT}

    def _maps(self, stores: Sequence[LabelStore], digests: Sequence[str]) -> PackedMaps:
        """Of several folders that one expert filled, each digest where it is found."""
        described = {store.description for store in stores}
        if len(described) > 1:
            raise ExpertError(f"{', '.join(str(store.folder) for store in stores)}: labels of several experts.")
        description = described.pop()
        if (description.geometry, description.size) != (self.preprocessing.geometry, self.preprocessing.image_size):
            raise ExpertError(f"{stores[0].folder}: labels of pictures cut as {description.geometry}, not as packed.")
        identity, found = description.identity, {}
        for store in stores:
            there = [digest for digest in digests if digest in store and digest not in found]
            for digest, label in zip(there, store.maps(there), strict=True):
                found[digest] = encode(identity.kind, label)
        if len(found) < len(digests) / 2:
            raise DataError(f"{stores[0].folder}: labels for {len(found)} of {len(digests)} pictures; label the rest")
        by = f"{identity.name} {identity.version} ({identity.digest[:12]})"
        return PackedMaps(identity.kind, by, identity.classes, tuple(found.get(digest) for digest in digests))

    def _drawn(self, source: str) -> dict[str, tuple[tuple[Box, ...], str]]:
        """By digest of what was drawn here: boxes, from pixels of the rows' `size` to shares of the sides, and the
        photograph behind."""
        found: dict[str, tuple[tuple[Box, ...], str]] = {}
        for path in source_files(self.data)[source]:
            for digest, extra in read_extras(path).items():
                boxes = extra.get("boxes", ())
                if boxes and not extra.get("size"):
                    raise DataError(f"{path}: a row with boxes does not say what size its picture has")
                shares = tuple(_box(each, float(extra["size"])) for each in boxes)
                found[digest] = shares, str(extra.get("photograph", ""))
        return found


def _folders(data: DataDirs) -> Sequence[Path]:
    return [data] if isinstance(data, Path) else list(data)


def _box(fields: Sequence[Any], size: float) -> Box:
    name, x0, y0, x1, y1 = fields
    return str(name), x0 / size, y0 / size, x1 / size, y1 / size


def _row(row: Row, boxes: tuple[Box, ...], behind: str) -> PackedRow:
    return PackedRow(row.captions, None if row.broad else row.label, row.digest, boxes, behind)
