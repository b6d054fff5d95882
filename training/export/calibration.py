"""The pictures that int8 towers are calibrated on."""

from collections.abc import Callable

import numpy as np

from service.model_config import Preprocessing
from training.data.samples import decode_rows
from training.data.sources import DataDirs, available_sources, read_rows
from training.data.splits import RESERVED_SOURCES, Split, assign_splits
from training.export.quantize import CalibrationPictures

# Half of them set the scales, half show what came of it.
PICTURES = 512

Calibration = Callable[[Preprocessing], CalibrationPictures]


def calibration_on(data_dir: DataDirs) -> Calibration:
    """A function that draws pictures of the `fit` split of `data_dir`, as a tower takes them.

    Reserved sources are left out: a zoo that had been tuned on them could not be tested on them. The same pictures
    come every time.
    """
    rows = [
        row
        for row, split in assign_splits(read_rows(data_dir, available_sources(data_dir)))
        if split is Split.FIT and row.source not in RESERVED_SOURCES
    ]
    order = np.random.default_rng(0).permutation(len(rows))[:PICTURES]
    drawn = [rows[i] for i in order]

    def pictures(preprocessing: Preprocessing) -> CalibrationPictures:
        images = decode_rows(drawn, preprocessing).images
        half = len(images) // 2
        return CalibrationPictures(fit=images[:half], check=images[half:])

    return pictures
