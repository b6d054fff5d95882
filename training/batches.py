"""What each step of a run sees. Everything random is a function of (seed, epoch or step), so a resumed run draws what
an uninterrupted one would have drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor

from training.config import RunConfig
from training.data.augment import augment
from training.data.captions import caption_group, draw_caption
from training.losses import soft_targets
from training.models.tokenizer import encode

if TYPE_CHECKING:
    from training.data.samples import Samples


@dataclass(frozen=True)
class Batch:
    """images: float32[n, 3, h, w] in 0..1; input_ids: int64[m, L], the m distinct texts; text_index: int64[n], which
    of them belongs to each image; targets: float32[n, n]."""

    images: Tensor
    input_ids: Tensor
    text_index: Tensor
    targets: Tensor

    def part(self, share: slice) -> "Batch":
        """One process's share of the images with the texts that belong to them; the targets stay those of all."""
        used, text_index = torch.unique(self.text_index[share], return_inverse=True)
        return Batch(self.images[share], self.input_ids[used], text_index, self.targets)


def epoch_order(sources: Sequence[str], weights: dict[str, float], seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Indices of one epoch, shuffled: every source's images `weight` times (1 where none is given).

    A fractional part of the weight is a random subset, drawn anew in every epoch.
    """
    rng = np.random.default_rng((seed, epoch))
    names = np.array(sources)
    parts = []
    for source in dict.fromkeys(sources):
        index = np.flatnonzero(names == source)
        wanted = max(1, round(weights.get(source, 1.0) * len(index)))
        repeats = -(-wanted // len(index))
        parts.append(np.concatenate([rng.permutation(index) for _ in range(repeats)])[:wanted])
    return rng.permutation(np.concatenate(parts))


def step_generator(seed: int, step: int) -> torch.Generator:
    """Torch's random stream of one step."""
    state = np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def make_batch(
    samples: "Samples",
    index: npt.NDArray[np.int64],
    tokenizer: Tokenizer,
    config: RunConfig,
    step: int,
    side: int | None = None,
) -> Batch:
    """The batch of one step: augmented images (of `side` pixels, where that is given), one caption drawn for each,
    repeated texts encoded once."""
    rng = np.random.default_rng((config.seed, step, 1))
    pairs = [
        draw_caption(samples.captions[i], samples.labels[i], rng, config.data.template_share) for i in index.tolist()
    ]
    texts = {text: position for position, text in enumerate(dict.fromkeys(pairs))}
    groups = [caption_group(text, samples.labels[i]) for text, i in zip(pairs, index.tolist(), strict=True)]
    pixels = torch.from_numpy(samples.images[index])
    return Batch(
        images=augment(pixels, config.augmentation, step_generator(config.seed, step), side),
        input_ids=torch.from_numpy(encode(tokenizer, list(texts))),
        text_index=torch.tensor([texts[text] for text in pairs]),
        targets=soft_targets(groups),
    )
