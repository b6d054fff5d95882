"""Several processes against one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import nn

from training.checkpoint import load_average
from training.curve import read_curve
from training.distributed import World, own_device, share_batch_statistics
from training.journal import CURVE, FINAL

pytestmark = pytest.mark.torch

# A residual CNN: what its batch norms compute depends on every image of the batch.
CONFIG = """
name = "tiny"
family = "resnet"
model = "resnet-l"
seed = 5
data = { sources = ["objects", "scenes", "things"] }
schedule = { epochs = 1, peak_lr = 5e-4, batch_size = 16, warmup_steps = 2, bf16 = false }
"""


def _train(command: list[str], config: Path, data: Path, out: Path) -> None:
    arguments = ["-m", "training", "train", str(config), "--data", str(data), "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, env=environment, timeout=250)
    assert done.returncode == 0, done.stderr[-2000:]


def test_two_processes_take_the_steps_of_one(small_data: Path, tmp_path: Path) -> None:
    config = tmp_path / "tiny.toml"
    config.write_text(CONFIG)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    _train([sys.executable], config, small_data, tmp_path / "one")
    _train(torchrun, config, small_data, tmp_path / "two")

    one, two = (read_curve(tmp_path / name / CURVE) for name in ("one", "two"))
    assert len(one) == len(two) > 3
    # The first loss knows no gradient, each later one all gradients before it.
    assert [row["loss"] for row in two] == pytest.approx([row["loss"] for row in one], rel=1e-3)
    averages = [load_average(tmp_path / name / FINAL)[0] for name in ("one", "two")]
    for name, value in averages[0].items():
        torch.testing.assert_close(averages[1][name], value, rtol=0, atol=2e-3)


def test_a_batch_that_cannot_be_shared_evenly_is_refused() -> None:
    with pytest.raises(ValueError, match="batch of 5 cannot be shared out among 2"):
        World(0, 2).part(5)


def test_shares_of_all_processes_make_the_batch() -> None:
    assert [list(range(12))[World(rank, 3).part(12)] for rank in range(3)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
    ]


def test_a_lone_process_communicates_nothing() -> None:
    rows = torch.ones(2, 3)
    model = nn.Sequential(BatchNormAct2d(3))
    share_batch_statistics(model, World())
    assert World().gather(rows) is rows
    assert type(model[0]) is BatchNormAct2d


def test_the_mean_over_one_process_is_its_own_and_needs_nobody() -> None:
    values = torch.ones(2, requires_grad=True)
    found = World().average(values)
    assert torch.equal(found, values)
    assert not found.requires_grad
    World().wait()


def test_each_process_takes_a_gpu_of_its_own_where_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert own_device(torch.device("cuda")) == torch.device("cuda:3") == taken[0]
    assert own_device(torch.device("cuda:1")) == torch.device("cuda:1")
    assert own_device(torch.device("cpu")) == torch.device("cpu")
    monkeypatch.delenv("LOCAL_RANK")
    assert own_device(torch.device("cuda")) == torch.device("cuda")


def test_an_unknown_batch_norm_is_refused_rather_than_left_alone() -> None:
    with pytest.raises(ValueError, match="0: a BatchNorm2d cannot be shared"):
        share_batch_statistics(nn.Sequential(nn.BatchNorm2d(3)), World(0, 2))
