"""What each step sees."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from training.batches import epoch_order, make_batch, step_generator
from training.config import TextConfig, parse_config
from training.data.samples import Samples
from training.train import run_tokenizer

pytestmark = pytest.mark.torch

SOURCES = ("a",) * 10 + ("b",) * 4
CONFIG = parse_config(
    {
        "name": "n",
        "family": "f",
        "model": "m",
        "seed": 3,
        "data": {"sources": ["s"]},
        "schedule": {"epochs": 1, "peak_lr": 0.1},
    },
    "test",
)


def _samples() -> Samples:
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    labels = ("cat", "dog", "cat", None, "cat", "dog")
    return Samples(images, (("it is small",),) * 6, labels, ("s",) * 6, tuple("abcdef"))


def test_without_weights_an_epoch_shows_every_image_once() -> None:
    assert sorted(epoch_order(SOURCES, {}, seed=1, epoch=0)) == list(range(14))


def test_weights_repeat_or_thin_out_a_source() -> None:
    order = epoch_order(SOURCES, {"a": 0.5, "b": 2.0}, seed=1, epoch=0)
    counts = Counter(SOURCES[i] for i in order)
    assert counts == {"a": 5, "b": 8}
    assert set(Counter(i for i in order.tolist() if i >= 10).values()) == {2}


def test_epochs_differ_and_can_be_drawn_again() -> None:
    first, again, second = (epoch_order(SOURCES, {}, seed=1, epoch=epoch) for epoch in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)


def test_a_batch_is_a_function_of_seed_and_step_alone() -> None:
    samples = _samples()
    tokenizer = run_tokenizer(samples, 20, 400, TextConfig())
    index = np.arange(6)
    first, again = (make_batch(samples, index, tokenizer, CONFIG, step=4) for _ in range(2))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.input_ids, again.input_ids)
    assert not torch.equal(first.images, make_batch(samples, index, tokenizer, CONFIG, step=5).images)


def test_equal_texts_are_encoded_once_and_labels_share_targets() -> None:
    samples = _samples()
    tokenizer = run_tokenizer(samples, 20, 400, TextConfig())
    batch = make_batch(samples, np.arange(6), tokenizer, CONFIG, step=0)
    assert len(batch.input_ids) == len({tuple(row) for row in batch.input_ids.tolist()})
    assert batch.text_index.shape == (6,)
    cats = torch.tensor([1.0, 0, 1, 0, 1, 0]) / 3
    for row in (0, 2, 4):
        assert torch.allclose(batch.targets[row], cats)


def test_steps_have_streams_of_their_own() -> None:
    drawn = {torch.rand(1, generator=step_generator(seed, step)).item() for seed in range(3) for step in range(3)}
    assert len(drawn) == 9
