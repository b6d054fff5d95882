"""Which rows may be used for what.

`tower-train` trains towers; `fit` serves shots, controllers, adapters and temperatures; `calibrate` serves cascades;
`test` is looked at only by the evaluation. A row's split follows from the digest of its image alone, so it does not
change when files are re-ordered, merged or extended, and equal images always share a split.
"""

from collections.abc import Iterable
from enum import StrEnum

from training.data.rows import Row

FIT_SHARE = 0.08
CALIBRATE_SHARE = 0.08

# In no tower's training: these sources measure transfer to places no member has seen.
RESERVED_SOURCES = frozenset({"clothing", "coco_mini", "flash_cards", "mnist", "openmoji", "tux_paint"})


class Split(StrEnum):
    """The four parts of the data."""

    TOWER_TRAIN = "tower-train"
    FIT = "fit"
    CALIBRATE = "calibrate"
    TEST = "test"


def split_of(digest: str, *, test: bool, reserved: bool) -> Split:
    """Split of one image from the sha256 of its bytes (hex).

    Train rows of a reserved source that would train towers go to `fit` instead.
    """
    if test:
        return Split.TEST
    position = int(digest[:16], 16) / 16**16
    if position < CALIBRATE_SHARE:
        return Split.CALIBRATE
    if position < CALIBRATE_SHARE + FIT_SHARE or reserved:
        return Split.FIT
    return Split.TOWER_TRAIN


def assign_splits(rows: Iterable[Row]) -> list[tuple[Row, Split]]:
    """Rows with their splits; a train row whose image is also a test image is dropped.

    Read all sources together, so that a picture that two sources share is seen as one. One picture that is in a
    reserved source is treated as reserved everywhere.
    """
    kept = list(rows)
    test_digests = {row.digest for row in kept if row.test}
    reserved_digests = {row.digest for row in kept if row.source in RESERVED_SOURCES}
    return [
        (row, split_of(row.digest, test=row.test, reserved=row.digest in reserved_digests))
        for row in kept
        if row.test or row.digest not in test_digests
    ]
