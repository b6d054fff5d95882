"""What an adapted CLIP finds and names on the test rows of one source, on the device that fitted it."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from service.pipeline.labels import LabelSet
from training.adapters.adapt import attention_kernels, embed_pictures, embed_texts
from training.adapters.attach import Adapted
from training.adapters.pack import Pack
from training.adapters.pairs import NOTHING, Pairs, pair_losses, pairs_of_pack
from training.evaluate.prompts import templates_of
from training.models.tokenizer import encode

RECALL_AT: Final = (1, 5, 10)
CHUNK: Final = 1024


@dataclass(frozen=True, eq=False)
class Tested:
    """The test rows of one source. `searched`: int64[m], the numbers of the distinct captions; `owns`: bool[n, m], what
    belongs together. Where the source has classes: `prompts` int64[p, L], `class_of` int64[p], and `truth` int64[n],
    `NOTHING` for a picture without a label."""

    source: str
    pairs: Pairs
    searched: Tensor
    owns: Tensor
    prompts: Tensor | None = None
    class_of: Tensor | None = None
    truth: Tensor | None = None


def open_tested(pack: Pack, pixels: npt.NDArray[np.uint8], source: str, device: torch.device) -> Tested:
    """The test rows of `source` on `device`."""
    pairs = pairs_of_pack(pack, pixels, "test", (source,), device)
    captions = [pairs.table[row, : pairs.captions[row]] for row in range(len(pairs))]
    searched = torch.from_numpy(np.unique(np.concatenate(captions))).to(device)
    everyone = torch.arange(len(pairs), device=device)
    owns = torch.cat([pairs.matches(everyone, part) for part in torch.split(searched, 256)], dim=1)
    classes = pack.classes.get(source)
    if classes is None:
        return Tested(source, pairs, searched, owns)
    names = LabelSet(classes, tuple((name,) for name in classes), templates_of(source))
    prompts, class_of = names.prompts()
    place = {name: i for i, name in enumerate(classes)}
    return Tested(
        source,
        pairs,
        searched,
        owns,
        prompts=torch.from_numpy(encode(pack.tokenizer, prompts)).to(device),
        class_of=torch.from_numpy(class_of).to(device),
        truth=torch.tensor([NOTHING if label is None else place[label] for label in pairs.labels], device=device),
    )


@torch.inference_mode()
def measure(adapted: Adapted, tested: Tested) -> dict[str, float]:
    """Shares of 1: recall at every `RECALL_AT` by text (`text R@k`) and by picture (`image R@k`), any match being a
    hit; `top1` and `balanced` (over classes) where there are classes."""
    with attention_kernels(tested.searched.device):
        pictures = torch.cat([embed_pictures(adapted, part) for part in torch.split(tested.pairs.images, CHUNK)])
        texts = torch.cat(
            [embed_texts(adapted, part) for part in torch.split(tested.pairs.ids[tested.searched], CHUNK)]
        )
        found = recall(texts @ pictures.T, tested.owns.T, "text") | recall(pictures @ texts.T, tested.owns, "image")
        if tested.prompts is not None and tested.class_of is not None and tested.truth is not None:
            prompts = torch.cat([embed_texts(adapted, part) for part in torch.split(tested.prompts, CHUNK)])
            labelled = tested.truth != NOTHING
            found |= accuracy(pictures[labelled], prompts, tested.class_of, tested.truth[labelled])
    return {name: round(value, 5) for name, value in found.items()}


def recall(scores: Tensor, owns: Tensor, kind: str) -> dict[str, float]:
    """Recall from scores float32[q, i] and bool[q, i], which items a query looks for. Ties count against the query, and
    a query is worth the same however many items it looks for."""
    best = scores.masked_fill(~owns, -torch.inf).amax(dim=1, keepdim=True)
    ranks = ((scores >= best) & ~owns).sum(dim=1)
    return {f"{kind} R@{k}": (ranks < k).float().mean().item() for k in RECALL_AT}


def accuracy(pictures: Tensor, prompts: Tensor, class_of: Tensor, truth: Tensor) -> dict[str, float]:
    """Zero-shot accuracy as the gateway has it: prompt embeddings are averaged by class and normalised again."""
    count = int(class_of.max()) + 1
    sums = torch.zeros(count, prompts.shape[1], device=prompts.device).index_add_(0, class_of, prompts)
    right = ((pictures @ functional.normalize(sums, dim=-1).T).argmax(dim=1) == truth).float()
    per_class = torch.zeros(count, device=right.device).index_add_(0, truth, right)
    sizes = torch.bincount(truth, minlength=count)
    balanced = (per_class[sizes > 0] / sizes[sizes > 0]).mean()
    return {"top1": right.mean().item(), "balanced": balanced.item()}


@torch.inference_mode()
def pair_loss(adapted: Adapted, pairs: Pairs) -> float:
    """The loss over all of `pairs` as one batch, every picture with one text drawn once for all, where every source
    weighs the same however many pictures it has: what rates are chosen by, as figures are means over sources."""
    rows = np.arange(len(pairs))
    texts = torch.from_numpy(pairs.draw(rows, np.random.default_rng(0), 0.5)).to(pairs.images.device)
    at = torch.from_numpy(rows).to(texts.device)
    with attention_kernels(texts.device):
        image = torch.cat([embed_pictures(adapted, part) for part in torch.split(pairs.images, CHUNK)])
        text = torch.cat([embed_texts(adapted, part) for part in torch.split(pairs.ids[texts], CHUNK)])
        losses = pair_losses(image, text, adapted.logit_scale.exp(), pairs.matches(at, texts))
    sources = np.array(pairs.sources)
    means = [losses[torch.from_numpy(sources == name).to(losses.device)].mean() for name in sorted(set(pairs.sources))]
    return torch.stack(means).mean().item()
