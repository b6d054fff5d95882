"""Figure 6: where pictures and captions lie with and without the ensemble, on two principal axes."""

from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from training.adapters.adapt import attention_kernels, embed_pictures, embed_texts
from training.adapters.attach import Adapted, attach
from training.adapters.design import design
from training.adapters.pack import Pack
from training.adapters.pairs import Pairs, pairs_of_pack
from training.adapters.settings import RESERVED
from training.evaluate.adapters.bench import frozen_backbone
from training.evaluate.adapters.branches import measure_branches
from training.evaluate.adapters.report import Cloud, Features, Point, SourceFacts
from training.evaluate.records import States

MOST: Final = 200
DRAWN: Final = ("zero-shot", "without-msa", "msa", "msa-lo")
SPLIT: Final = "msa"
"""Whose scales are drawn one by one."""

Floats = npt.NDArray[np.float64]


def measure_features(pack: Pack, states: States, facts: dict[str, SourceFacts]) -> Features | None:
    """The clouds of the frozen backbone and of every kept adapter, for the reserved source of most captions. Null
    without an adapter of seed 0. Runs on the CPU."""
    labels = [label for label in DRAWN if label in states]
    searched = [source for source in RESERVED if source in facts and facts[source].is_search]
    if not labels or not searched:
        return None
    source, cpu = max(searched, key=lambda each: facts[each].captions), torch.device("cpu")
    pairs = _first_rows(pack, source, cpu)
    model, found = frozen_backbone(pack, cpu), None
    clouds = []
    for label in ("zero-shot", *labels):
        adapted = attach(model, design(label), seed=0)
        if label in states:
            adapted.load_adapter_state(states[label])
        clouds.append(cloud(label, *_embeddings(adapted, pairs)))
        if label == SPLIT:
            found = measure_branches(adapted, pairs.images)
    return Features(source, tuple(clouds), found)


def _first_rows(pack: Pack, source: str, device: torch.device) -> Pairs:
    """The first `MOST` test rows of a source, as they lie in the pack; only these are decoded."""
    places = pack.chosen("test", (source,))[:MOST].tolist()
    few = Pack(
        backbone=pack.backbone,
        model=pack.model,
        weights={},
        tokenizer=pack.tokenizer,
        rows=tuple(pack.rows[place] for place in places),
        pictures=tuple(pack.pictures[place] for place in places),
        classes=pack.classes,
    )
    return pairs_of_pack(few, few.decoded(), "test", (source,), device)


@torch.inference_mode()
def _embeddings(adapted: Adapted, pairs: Pairs) -> tuple[Floats, Floats]:
    """Unit rows [n, d] of pictures, and of the first caption of each."""
    first = torch.from_numpy(pairs.table[:, 0])
    with attention_kernels(first.device):
        pictures = embed_pictures(adapted, pairs.images)
        captions = embed_texts(adapted, pairs.ids[first])
    return pictures.double().numpy(), captions.double().numpy()


def cloud(label: str, pictures: Floats, captions: Floats) -> Cloud:
    """Both on the two principal axes of all of them together. Unit rows float64[n, d]; a row of one belongs to the same
    row of the other."""
    both = np.concatenate([pictures, captions])
    centred = both - both.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    # The sign of an axis is the machine's choice: the largest component is made positive.
    axes = axes[:2] * np.sign(axes[:2][np.arange(2), np.abs(axes[:2]).argmax(axis=1)])[:, None]
    placed = np.round(centred @ axes.T, 4)
    return Cloud(
        label,
        _points(placed[: len(pictures)]),
        _points(placed[len(pictures) :]),
        cosine=float((pictures * captions).sum(axis=1).mean()),
        gap=float(np.linalg.norm(pictures.mean(axis=0) - captions.mean(axis=0))),
    )


def _points(placed: Floats) -> tuple[Point, ...]:
    return tuple((x, y) for x, y in placed.tolist())
