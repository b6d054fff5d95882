"""A pack of a few random pictures around a random `vit-s`, small enough to fit adapters to in a second."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from tokenizers import Tokenizer

from training.adapters.pack import Pack, save_pack
from training.adapters.packing import make_pack
from training.checkpoint import save_tensors
from training.config import parse_config
from training.data.captions import all_texts
from training.data.sources import available_sources, read_rows
from training.journal import FINAL
from training.models.text import TOKENIZER
from training.models.tokenizer import train_tokenizer
from training.models.towers import build_model

CONFIG = {
    "name": "small",
    "family": "vit",
    "model": "vit-s",
    "seed": 0,
    "data": {"sources": ["things"]},
    "schedule": {"epochs": 1, "peak_lr": 1e-3},
}


def write_run(folder: Path, data: Path) -> Path:
    """The folder of a finished run of `vit-s` with random weights, its tokenizer trained on the texts in `data`."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    model = build_model("vit-s")
    texts = [text for row in read_rows(data, available_sources(data)) for text in all_texts(row.captions, row.label)]
    tokenizer: Tokenizer = train_tokenizer(texts, vocab_size=model.vocab_size, context_length=model.context_length)
    tokenizer.save(str(folder / TOKENIZER))
    averages = {f"average.{name}": value for name, value in model.state_dict().items()}
    metadata = {"config": asdict(parse_config(CONFIG, "test")), "step": 1, "seconds": 1.0, "images": 1}
    save_tensors(folder / FINAL, averages, metadata)
    return folder


def small_pack(run: Path, data: Path) -> Pack:
    """The sources of `data` that the tests use."""
    return make_pack(data, run, sources=("clothing", "scenes"), progress=lambda _: None)


def write_pack(folder: Path, data: Path) -> Path:
    """The same, in a file."""
    path = folder / "pack.safetensors"
    save_pack(path, small_pack(write_run(folder / "run", data), data))
    return path
