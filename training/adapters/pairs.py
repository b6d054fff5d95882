"""Pictures and their texts on the device that trains, and what one step sees of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from training.data.captions import LABEL_TEMPLATES
from training.models.tokenizer import encode

if TYPE_CHECKING:
    from training.adapters.pack import Pack
    from training.data.samples import Samples

Integers = npt.NDArray[np.int64]
NOTHING = -1


@dataclass(frozen=True, eq=False)
class Pairs:
    """n pictures, t distinct texts, and which texts each picture may be shown with.

    images: uint8[n, s, s, 3]; ids: int64[t, L]; texts: int64[n, k], the numbers of a picture's texts, captions first,
    then templates around its label, filled up with `NOTHING` (all three on the device). captions, count: int64[n], how
    many are captions, and how many there are at all. words: the texts; sources, labels: of the pictures.
    """

    images: Tensor
    ids: Tensor
    texts: Tensor
    table: Integers
    captions: Integers
    count: Integers
    words: tuple[str, ...]
    sources: tuple[str, ...]
    labels: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.images)

    def draw(self, rows: Integers, rng: np.random.Generator, template_share: float) -> Integers:
        """int64[b], a text for each of the pictures `rows`: a labelled picture gets a template `template_share` of the
        time, else one of its captions (as `training.data.captions.draw_caption`)."""
        captions, count = self.captions[rows], self.count[rows]
        which, place = rng.random((2, len(rows)))
        templated = (count > captions) & ((captions == 0) | (which < template_share))
        first = np.where(templated, captions, 0)
        room = np.where(templated, count - captions, captions)
        return np.asarray(self.table[rows, first + (place * room).astype(np.int64)])

    def matches(self, rows: Tensor, texts: Tensor) -> Tensor:
        """bool[b, m]: whether each of the texts (int64[m]) is one that each of the pictures (int64[b]) may have."""
        return (self.texts[rows][:, None, :] == texts[None, :, None]).any(dim=-1)


def label_texts(label: str | None) -> tuple[str, ...]:
    """Every template around a label, with and without a full stop."""
    return () if label is None else tuple(f"{t.format(label)}{stop}" for t in LABEL_TEMPLATES for stop in ("", "."))


def make_pairs(
    images: npt.NDArray[np.uint8],
    captions: Sequence[Sequence[str]],
    labels: Sequence[str | None],
    sources: Sequence[str],
    tokenizer: Tokenizer,
    device: torch.device,
) -> Pairs:
    """`Pairs` on `device`; texts that differ only in case are one. Raises `ValueError` for a picture without a text."""
    numbers: dict[str, int] = {}

    def number(text: str) -> int:
        return numbers.setdefault(text.lower(), len(numbers))

    own = [[number(text) for text in dict.fromkeys(texts)] for texts in captions]
    templated = [[number(text) for text in label_texts(label)] for label in labels]
    count = np.array([len(a) + len(b) for a, b in zip(own, templated, strict=True)], dtype=np.int64)
    if count.min(initial=1) == 0:
        raise ValueError("a picture has neither a caption nor a label")
    table = np.full((len(own), count.max(initial=1)), NOTHING, dtype=np.int64)
    for row, (first, second) in enumerate(zip(own, templated, strict=True)):
        table[row, : count[row]] = first + second
    return Pairs(
        images=torch.tensor(images, device=device),
        ids=torch.from_numpy(encode(tokenizer, list(numbers))).to(device),
        texts=torch.from_numpy(table).to(device),
        table=table,
        captions=np.array([len(each) for each in own], dtype=np.int64),
        count=count,
        words=tuple(numbers),
        sources=tuple(sources),
        labels=tuple(labels),
    )


def pairs_of_samples(samples: "Samples", tokenizer: Tokenizer, device: torch.device) -> Pairs:
    """Decoded samples as pairs."""
    return make_pairs(samples.images, samples.captions, samples.labels, samples.sources, tokenizer, device)


def pairs_of_pack(
    pack: "Pack", pixels: npt.NDArray[np.uint8], split: str, sources: Sequence[str], device: torch.device
) -> Pairs:
    """The rows of one split and of `sources`; `pixels` are those of the whole pack."""
    places = pack.chosen(split, sources)
    rows = [pack.rows[place] for place in places.tolist()]
    return make_pairs(
        pixels[places],
        [row.captions for row in rows],
        [row.label for row in rows],
        [row.source for row in rows],
        pack.tokenizer,
        device,
    )


def matching_loss(image: Tensor, text: Tensor, scale: Tensor, match: Tensor) -> Tensor:
    """CLIP's symmetric cross-entropy (Radford et al. 2021, figure 3) where a picture may match several of the texts.

    image, text: float32[n, d], unit rows; scale: the positive factor on cosines; match: bool[n, n], whether text j says
    what is on picture i. Every direction spreads its target evenly over what matches.
    """
    return pair_losses(image, text, scale, match).mean()


def pair_losses(image: Tensor, text: Tensor, scale: Tensor, match: Tensor) -> Tensor:
    """float32[n]: what each pair, a picture and the text beside it, adds to `matching_loss`, their mean."""
    logits = scale * image @ text.T
    hits = match.float()
    rows = functional.cross_entropy(logits, hits / hits.sum(dim=1, keepdim=True), reduction="none")
    columns = functional.cross_entropy(logits.T, (hits / hits.sum(dim=0, keepdim=True)).T, reduction="none")
    return (rows + columns) / 2
