"""Decoded image-text samples in memory."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from service.errors import RequestError
from service.model_config import Preprocessing
from service.pipeline.inputs.decode import ImageLimits, decode
from service.pipeline.inputs.preprocess import preprocess
from training.data.rows import DataError, Row
from training.data.sources import DataDirs, available_sources, read_rows
from training.data.splits import Split, assign_splits

# Data on disk is trusted as far as its size goes.
LIMITS = ImageLimits(max_bytes=1 << 30, max_pixels=1 << 30)


@dataclass(frozen=True)
class Samples:
    """n decoded samples.

    images: uint8[n, size, size, 3], RGB; captions, labels, sources, digests: length n, in the same order. A label that
    is broad (see `Row`) is left out: the captions say more.
    """

    images: npt.NDArray[np.uint8]
    captions: tuple[tuple[str, ...], ...]
    labels: tuple[str | None, ...]
    sources: tuple[str, ...]
    digests: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def of_source(self, source: str) -> "Samples":
        """The samples of one source, in order."""
        keep = [i for i, name in enumerate(self.sources) if name == source]
        return Samples(
            images=self.images[keep],
            captions=tuple(self.captions[i] for i in keep),
            labels=tuple(self.labels[i] for i in keep),
            sources=tuple(self.sources[i] for i in keep),
            digests=tuple(self.digests[i] for i in keep),
        )


def decode_rows(rows: Sequence[Row], preprocessing: Preprocessing, *, progress: bool = False) -> Samples:
    """Decode and resize `rows` once, by the gateway's own code: towers train on what they will be served.

    Raises `DataError` naming source and digest for an image that cannot be decoded.
    """
    size = preprocessing.image_size
    images = np.empty((len(rows), size, size, 3), dtype=np.uint8)
    for i, row in enumerate(tqdm(rows, desc="decode", unit="img", disable=not progress)):
        try:
            images[i] = preprocess(decode(row.image, LIMITS, size), preprocessing)
        except RequestError as error:
            raise DataError(f"source {row.source}: image {row.digest[:12]} cannot be decoded: {error}") from error
    return Samples(
        images=images,
        captions=tuple(row.captions for row in rows),
        labels=tuple(None if row.broad else row.label for row in rows),
        sources=tuple(row.source for row in rows),
        digests=tuple(row.digest for row in rows),
    )


def select_rows(rows: Iterable[Row], split: Split, sources: Sequence[str]) -> list[Row]:
    """Rows of one split, restricted to `sources`. Pass the rows of *every* source: duplicates are found across them."""
    wanted = set(sources)
    return [row for row, assigned in assign_splits(rows) if assigned is split and row.source in wanted]


def load_samples(
    data_dir: DataDirs, split: Split, sources: Sequence[str], preprocessing: Preprocessing, *, progress: bool = False
) -> Samples:
    """Samples of one split and of `sources`, every file in `data_dir` being read for duplicates.

    Raises `DataError` when there are none.
    """
    rows = select_rows(read_rows(data_dir, available_sources(data_dir)), split, sources)
    if not rows:
        raise DataError(f"no row in split {split} of {', '.join(sources)}")
    return decode_rows(rows, preprocessing, progress=progress)
