"""The text tower of a zoo model as a part of its own: OpenCLIP's plain CLIP spreads it over its attributes."""

from pathlib import Path

import torch
from open_clip.model import CLIP
from open_clip.transformer import text_global_pool
from torch import Tensor, nn

from training.checkpoint import CheckpointError, load_tensors
from training.models.tokenizer import PAD_ID

TEXT_TOWER = "text.safetensors"
TOKENIZER = "tokenizer.json"


def is_text(name: str) -> bool:
    """Whether a parameter of `open_clip.model.CLIP` belongs to the text tower."""
    return not name.startswith("visual.") and name not in ("logit_scale", "logit_bias")


def text_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The text tower's weights by their names in the whole model."""
    return {name: value for name, value in model.state_dict().items() if is_text(name)}


def load_text_tower(model: nn.Module, path: Path) -> None:
    """Put the text tower in `path` into `model`. Raises `CheckpointError` if there is none or its shape is another."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; make it with `python -m training distil`")
    tensors, _ = load_tensors(path)
    found = {name: value.shape for name, value in tensors.items()}
    if found != {name: value.shape for name, value in text_tensors(model).items()}:
        raise CheckpointError(f"{path}: this text tower has another shape than the model's text_cfg asks for")
    model.load_state_dict(tensors, strict=False)


def encode_texts(model: CLIP, ids: Tensor) -> Tensor:
    """Text embeddings float32[n, d] of int64[n, L], as `model.encode_text` gives them.

    Half of a training batch is padding. The tower is causal and reads its answer at the end token, so what follows that
    may be cut off: short texts and long ones go separately, each trimmed to its longest.
    """
    lengths = (ids != PAD_ID).sum(dim=1)
    short = lengths <= ids.shape[1] // 2
    rows = [torch.nonzero(choice).flatten() for choice in (short, ~short)]
    parts = [_encode_trimmed(model, ids[index, : int(lengths[index].max())]) for index in rows if len(index)]
    return torch.cat(parts)[torch.argsort(torch.cat(rows))]


def _encode_trimmed(model: CLIP, ids: Tensor) -> Tensor:
    """`CLIP.encode_text` for fewer columns than the context length, which it does not take itself."""
    length = ids.shape[1]
    hidden = model.token_embedding(ids) + model.positional_embedding[:length]
    hidden = model.transformer(hidden, attn_mask=model.attn_mask[:length, :length])
    pooled = text_global_pool(model.ln_final(hidden), ids, model.text_pool_type, eos_token_id=model.text_eos_id)
    embedding: Tensor = pooled @ model.text_projection
    return embedding
