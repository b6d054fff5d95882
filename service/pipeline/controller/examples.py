"""The labelled examples a controller is fitted on: checked, without duplicates, and in an order of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidExamplesError
from service.pipeline.logits import Floats

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """`embeddings[i]` is `float32[n, d]` of `backbones[i]`; `logits` is `float32[n, b, c]`; `truth` `int64[n]`.

    Images are in order of their digests and backbones in order of their names, whatever order they came in: what is
    fitted then depends on what was given, and not on how.
    """

    backbones: tuple[str, ...]
    embeddings: tuple[Floats, ...]
    logits: Floats
    truth: Integers
    digests: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def classes(self) -> int:
        return int(self.logits.shape[2])

    @property
    def shots(self) -> tuple[int, int]:
        """Fewest and most examples of a class that has any."""
        counts = np.bincount(self.truth, minlength=self.classes)
        return int(counts[counts > 0].min()), int(counts.max())

    def take(self, rows: Integers) -> Examples:
        """Some of the images, `int64` positions in ascending order."""
        return Examples(
            self.backbones,
            tuple(each[rows] for each in self.embeddings),
            self.logits[rows],
            self.truth[rows],
            tuple(self.digests[row] for row in rows),
        )

    def of(self, backbones: Sequence[str]) -> Examples:
        """The same images seen by some of the backbones only (the paper's form has one controller for each prefix)."""
        keep = [index for index, name in enumerate(self.backbones) if name in backbones]
        return Examples(
            tuple(self.backbones[index] for index in keep),
            tuple(self.embeddings[index] for index in keep),
            np.ascontiguousarray(self.logits[:, keep]),
            self.truth,
            self.digests,
        )


def make_examples(
    backbones: Sequence[str], embeddings: Sequence[Floats], logits: Floats, truth: Integers, digests: Sequence[str]
) -> Examples:
    """Checked examples from arrays in the caller's order.

    `embeddings[i]` is `float32[n, d]`, unit rows, of `backbones[i]`; `logits` is `float32[b, n, c]`; `truth` is
    `int64[n]`, positions among the classes; `digests` are those of the images' bytes. An image that is there twice
    counts once. Raises `InvalidExamplesError` where there is nothing to fit on or one image has two classes, and
    `ValueError` for arrays that do not belong together or are not finite.
    """
    _check_arrays(backbones, embeddings, logits, truth, digests)
    if not len(truth):
        raise InvalidExamplesError("No examples. Send at least one labelled image.", param="examples")
    first = _first_of_each(truth, digests)
    rows = [first[digest] for digest in sorted(first)]
    order = np.argsort(np.array(backbones))
    return Examples(
        tuple(backbones[index] for index in order),
        tuple(np.ascontiguousarray(embeddings[index][rows], dtype=np.float32) for index in order),
        np.ascontiguousarray(logits[order][:, rows].transpose(1, 0, 2), dtype=np.float32),
        np.asarray(truth[rows], dtype=np.int64),
        tuple(sorted(first)),
    )


def _first_of_each(truth: Integers, digests: Sequence[str]) -> dict[str, int]:
    """Where each digest comes first. Raises `InvalidExamplesError` where the same image has two labels."""
    first: dict[str, int] = {}
    disputed = [index for index, digest in enumerate(digests) if truth[first.setdefault(digest, index)] != truth[index]]
    if disputed:
        index = disputed[0]
        more = f" So are {len(disputed) - 1:,} more." if len(disputed) > 1 else ""
        raise InvalidExamplesError(
            f"examples[{first[digests[index]]}] and examples[{index}] are the same image with different labels.{more}",
            param=f"examples[{index}]",
        )
    return first


def _check_arrays(
    backbones: Sequence[str], embeddings: Sequence[Floats], logits: Floats, truth: Integers, digests: Sequence[str]
) -> None:
    count, images = len(backbones), len(digests)
    if not count or len(set(backbones)) != count or len(embeddings) != count:
        raise ValueError("examples need one array of embeddings for each of their distinct backbones")
    if logits.ndim != 3 or logits.shape[:2] != (count, images) or not logits.shape[2]:
        raise ValueError(f"logits of shape {logits.shape} are not those of {count} backbones and {images} images")
    if any(rows.ndim != 2 or len(rows) != images for rows in embeddings) or truth.shape != (images,):
        raise ValueError(f"every array must speak of the same {images} images")
    if not all(np.isfinite(array).all() for array in (logits, *embeddings)):
        raise ValueError("embeddings and logits must be finite")
    if images and not (truth.min() >= 0 and truth.max() < logits.shape[2]):
        raise ValueError(f"labels must be positions among the {logits.shape[2]} classes")


def deal(examples: Examples, folds: int, seed: int) -> Integers:
    """The fold of each example, `int64[n]` in `0..folds-1`.

    Folds differ in size by one at most, and so does a class's share of each: classes are laid out one after the other
    and dealt like cards. With one example per class nothing can be stratified, and every fold asks about classes
    that the rest has not seen, as a new label set does. Order comes from digests alone, never from positions.
    """
    keys = [hashlib.sha256(f"{seed}:{digest}".encode()).digest() for digest in examples.digests]
    first_of_class: dict[int, bytes] = {}
    for key, label in sorted(zip(keys, examples.truth.tolist(), strict=True)):
        first_of_class.setdefault(label, key)
    order = sorted(range(len(examples)), key=lambda i: (first_of_class[int(examples.truth[i])], keys[i]))
    fold = np.empty(len(examples), dtype=np.int64)
    fold[order] = np.arange(len(examples)) % folds
    return fold
