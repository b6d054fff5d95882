"""The three settings of the adapter-ensemble paper (section 4.1) on the data at hand.

The paper's Laion is what a backbone was pretrained on, its YFCC and MS-COCO are elsewhere. Here `pretraining` is the
union of the four sources that the backbone `vit-s` has seen (other pictures of them: the `fit` rows), and `reserved`
the union of those that no tower ever saw. An adapter is fitted once and tested everywhere, so one fit serves several
settings, as in figures 4 and 5:

| fitted on | tested on | setting |
| --- | --- | --- |
| pretraining | pretraining | regular |
| pretraining | reserved | zero-shot |
| reserved, all or one | the same | adaptation |
| reserved | pretraining | return (the paper's fourth panel, which it gives no name) |
"""

from enum import StrEnum
from typing import Final

from training.data.splits import RESERVED_SOURCES

PRETRAINING: Final = ("cifar100", "flickr8k", "grocery_store", "tiny_imagenet")
RESERVED: Final = tuple(sorted(RESERVED_SOURCES))

TRAINING_SETS: Final[dict[str, tuple[str, ...]]] = {
    "pretraining": PRETRAINING,
    "reserved": RESERVED,
    **{source: (source,) for source in RESERVED},
}
"""What an adapter may be fitted on, by name."""


class Setting(StrEnum):
    """Who was fitted on what, and is asked about what."""

    REGULAR = "regular"
    ZERO_SHOT = "zero-shot"
    ADAPTATION = "adaptation"
    RETURN = "return"


def setting_of(fitted: str, tested: str) -> Setting | None:
    """The setting that training set `fitted` and test source `tested` make; null where they make none.

    An adapter fitted on one reserved source and tested on another is no setting of the paper.
    """
    if fitted == "pretraining":
        return Setting.REGULAR if tested in PRETRAINING else Setting.ZERO_SHOT
    if tested in PRETRAINING:
        return Setting.RETURN
    return Setting.ADAPTATION if tested in TRAINING_SETS[fitted] else None


MOST_ROWS: Final[dict[str, dict[str, int]]] = {
    "fit": {"tiny_imagenet": 1500, "cifar100": 1000, "clothing": 1500},
    "calibrate": dict.fromkeys(PRETRAINING, 150),
    "test": {"tiny_imagenet": 600, "cifar100": 600, "grocery_store": 500, "mnist": 1500},
}
"""By split, how many rows of a source are packed (the first by digest); all where nothing is said.

Sources of single class names are cut down, since the sets should not be theirs alone, and the pack must travel.
"""
