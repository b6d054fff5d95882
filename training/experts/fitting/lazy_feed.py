"""A feed of more pictures than memory holds: read, decoded and labelled by threads, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from service.errors import RequestError
from service.model_config import Preprocessing
from service.pipeline.inputs.decode import decode
from service.pipeline.inputs.preprocess import preprocess
from training.adapters.pairs import label_texts
from training.batches import step_generator
from training.data.augment import Augmentation
from training.data.lazy_rows import LazyRows, Texts
from training.data.rows import DataError
from training.data.samples import LIMITS
from training.experts.fitting.feed import WHOLE, DenseBatch, Integers, augment_densely, unsided
from training.experts.labels.targets import Places, TaskLabels, targets_of
from training.experts.protocol import Dense, Pictures
from training.models.tokenizer import encode


@dataclass(frozen=True)
class Wording:
    """The texts that a picture may be shown with, in lower case: its captions (see `unsided`), then templates around
    its label."""

    texts: tuple[str, ...]
    captions: int

    @classmethod
    def of(cls, said: Texts) -> Wording:
        own, around = dict.fromkeys(unsided(said.captions)), dict.fromkeys(label_texts(said.label))
        return cls(tuple(text.lower() for text in (*own, *around)), len(own))

    def pick(self, which: float, place: float, template_share: float) -> str:
        """By two numbers drawn from 0..1, as `Pairs.draw` does."""
        templates = len(self.texts) - self.captions
        templated = templates > 0 and (self.captions == 0 or which < template_share)
        first, room = (self.captions, templates) if templated else (0, self.captions)
        return self.texts[first + int(place * room)]


@dataclass(frozen=True, eq=False)
class LazyFeed:
    """Rows that lie where they lie, and the labels of experts beside them; see `Feed`.

    preprocessing: how pictures are cut, at the largest size of the fit. Equal to a `PairsFeed` of the same rows, batch
    for batch. What it holds: `LazyRows`, 4 bytes for every picture and store, and what is on its way: of a batch of b
    pictures of s pixels about 60 * b * s * s bytes (0.5 GB for 32 of 512). Threads are given back by `close`.
    """

    rows: LazyRows
    preprocessing: Preprocessing
    tokenizer: Tokenizer
    device: torch.device
    labels: tuple[TaskLabels, ...] = ()
    augmentation: Augmentation = field(default_factory=Augmentation)
    template_share: float = 0.5
    threads: int = 4
    _places: dict[str, Places] = field(init=False, repr=False)
    _pool: ThreadPoolExecutor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        places = {each.task: each.find(self.rows.digests) for each in self.labels}
        object.__setattr__(self, "_places", places)
        object.__setattr__(self, "_pool", ThreadPoolExecutor(self.threads, thread_name_prefix="decode"))

    def __len__(self) -> int:
        return len(self.rows)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)

    def labelled(self) -> dict[str, int]:
        """How many of the pictures have a label, by task."""
        return {task: int((places >= 0).any(axis=1).sum()) for task, places in self._places.items()}

    def batch(self, rows: Integers, *, side: int, seed: int, step: int, part: slice = WHOLE) -> DenseBatch:
        """As `Feed.batch`. Raises `DataError` for a picture that cannot be read or decoded, `ExpertError` for labels
        that cannot be."""
        # Every process needs the words of all pictures, which are short; the pictures of its own part alone.
        wordings = [Wording.of(said) for said in self._pool.map(self.rows.texts, rows.tolist())]
        draws = np.random.default_rng((seed, step, 1)).random((2, len(rows)))
        drawn = zip(wordings, *draws.tolist(), strict=True)
        texts = [each.pick(which, place, self.template_share) for each, which, place in drawn]
        distinct, own = np.unique(texts[part], return_inverse=True)
        images, maps = self._read(rows[part])
        pictures, targets = augment_densely(
            torch.from_numpy(images).to(self.device),
            targets_of(maps).to(self.device),
            self.augmentation,
            step_generator(seed, step),
            side,
            of=len(rows),
            part=part,
        )
        return DenseBatch(
            images=pictures,
            ids=torch.from_numpy(encode(self.tokenizer, distinct.tolist())).to(self.device),
            own=torch.from_numpy(own).to(self.device),
            match=torch.from_numpy(matches(wordings, texts)).to(self.device),
            targets=targets,
        )

    def _read(self, rows: Integers) -> tuple[Pictures, dict[str, Dense]]:
        """uint8[n, s, s, 3] and the maps of every task."""
        read = list(self._pool.map(self._read_one, rows.tolist()))
        images = np.stack([image for image, _ in read])
        return images, {each.task: np.concatenate([maps[each.task] for _, maps in read]) for each in self.labels}

    def _read_one(self, row: int) -> tuple[Pictures, dict[str, Dense]]:
        try:
            encoded = self.rows.picture(row)
            image = preprocess(decode(encoded, LIMITS, self.preprocessing.image_size), self.preprocessing)
        except RequestError as error:
            raise DataError(
                f"{self.rows.file_of(row)}: picture {self.rows.digests[row].decode()[:12]} cannot be decoded: {error} "
                "(labels, of any expert, say which ones cannot; with --labels these are left out)"
            ) from error
        return image, {each.task: each.at(self._places[each.task][row : row + 1]) for each in self.labels}


def matches(wordings: Sequence[Wording], texts: Sequence[str]) -> npt.NDArray[np.bool_]:
    """bool[n, m]: whether each of m texts is one that each of n pictures may have."""
    return np.array([[text in own for text in texts] for own in (frozenset(each.texts) for each in wordings)])
