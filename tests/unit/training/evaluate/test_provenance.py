"""What a configuration says about training."""

from __future__ import annotations

import pytest

from training.config import DataConfig, RunConfig, ScheduleConfig
from training.evaluate.provenance import trained_sources
from training.export.run import provenance

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("finished", [True, False])
def test_the_sources_of_an_exported_run_are_read_back(finished: bool) -> None:
    config = RunConfig("n", "f", "m", 1, DataConfig(("flickr8k", "emoji")), ScheduleConfig(epochs=1, peak_lr=1e-3))
    text = provenance(config, {"images": 12, "step": 3}, finished)
    assert trained_sources(text) == frozenset({"flickr8k", "emoji"})


def test_a_backbone_from_elsewhere_does_not_say() -> None:
    assert trained_sources("OpenCLIP ViT-B-32-quickgelu, openai") is None
