"""Checkpoints without pickle."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from training.checkpoint import CheckpointError, load_checkpoint, load_tensors, save_checkpoint

pytestmark = pytest.mark.torch


def _trained(steps: int) -> tuple[torch.nn.Linear, torch.optim.AdamW]:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()
    return model, optimizer


def test_a_restored_optimiser_takes_the_step_that_the_saved_one_would_have_taken(tmp_path: Path) -> None:
    model, optimizer = _trained(3)
    save_checkpoint(tmp_path / "c", model, {"w": torch.ones(2)}, optimizer, {"step": 3})
    other, other_optimizer = _trained(0)
    average = {"w": torch.zeros(2)}
    assert load_checkpoint(tmp_path / "c", other, average, other_optimizer) == {"step": 3}
    assert torch.equal(average["w"], torch.ones(2))
    for each, its_optimizer in ((model, optimizer), (other, other_optimizer)):
        its_optimizer.zero_grad()
        each(torch.ones(1, 3)).square().sum().backward()
        its_optimizer.step()
    assert torch.equal(model.weight, other.weight)


def test_restored_moments_lie_in_memory_as_their_parameters_do(tmp_path: Path) -> None:
    model = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    model(torch.ones(1, 3, 4, 4)).square().sum().backward()
    optimizer.step()
    before = optimizer.state[model.weight]["exp_avg"].clone()
    save_checkpoint(tmp_path / "c", model, {}, optimizer, {})
    load_checkpoint(tmp_path / "c", model, {}, optimizer)
    restored = optimizer.state[model.weight]["exp_avg"]
    assert restored.stride() == model.weight.stride()
    assert torch.equal(restored, before)


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    save_file({"x": torch.ones(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="foreign"):
        load_tensors(tmp_path / "foreign.safetensors")


def test_no_partial_file_stays_behind(tmp_path: Path) -> None:
    model, optimizer = _trained(1)
    save_checkpoint(tmp_path / "c", model, {}, optimizer, {})
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
