"""What a configuration says about training."""

from __future__ import annotations

import pytest

from training.adapters import design
from training.adapters.adapt_config import AdaptConfig, AdaptSchedule
from training.config import DataConfig, RunConfig, ScheduleConfig
from training.evaluate.provenance import fitted_sources, trained_sources
from training.export.adapted import fit_provenance
from training.export.run import provenance

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("finished", [True, False])
def test_the_sources_of_an_exported_run_are_read_back(finished: bool) -> None:
    config = RunConfig("n", "f", "m", 1, DataConfig(("flickr8k", "emoji")), ScheduleConfig(epochs=1, peak_lr=1e-3))
    text = provenance(config, {"images": 12, "step": 3}, finished)
    assert trained_sources(text) == frozenset({"flickr8k", "emoji"})


def test_a_backbone_from_elsewhere_does_not_say() -> None:
    assert trained_sources("OpenCLIP ViT-B-32-quickgelu, openai") is None


def test_the_sources_of_an_adapter_are_read_back_beside_those_of_its_backbone() -> None:
    config = AdaptConfig(
        backbone="runs/n", design=design("msa"), sources=("clothing", "openmoji"), seed=0, schedule=AdaptSchedule()
    )
    run = RunConfig("n", "f", "m", 1, DataConfig(("flickr8k",)), ScheduleConfig(epochs=1, peak_lr=1e-3))
    text = f"{provenance(run, {'images': 12, 'step': 3}, True)}; {fit_provenance(config, {'images': 5})}"
    assert fitted_sources(text) == frozenset({"clothing", "openmoji"})
    assert trained_sources(text) == frozenset({"flickr8k"})
    assert fitted_sources(provenance(run, {"images": 12, "step": 3}, True)) == frozenset()
