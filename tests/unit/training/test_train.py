"""The training loop."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training.checkpoint import CheckpointError, load_average, load_tensors, save_tensors
from training.config import RunConfig, ScheduleConfig, TextConfig, parse_config
from training.curve import read_curve
from training.data.samples import Samples, load_samples
from training.data.splits import Split
from training.journal import CHECKPOINT, CURVE, FINAL, PLOT
from training.models.text import TEXT_TOWER, TOKENIZER, is_text, text_tensors
from training.models.towers import build_model, zoo_preprocessing
from training.train import learning_rate, make_optimizer, train, update_average

pytestmark = pytest.mark.torch

SOURCES = ["objects", "scenes", "things"]


# The vision transformer: it drops patches in training, the one random thing that happens inside a tower.
@pytest.fixture(scope="module")
def config() -> RunConfig:
    table = {
        "name": "tiny",
        "family": "vit",
        "model": "vit-s",
        "seed": 5,
        "data": {"sources": SOURCES, "source_weights": {"things": 0.5}},
        "schedule": {"epochs": 2, "peak_lr": 1e-3, "batch_size": 16, "warmup_steps": 2, "checkpoint_steps": 3},
    }
    return parse_config(table, "test")


@pytest.fixture(scope="module")
def samples(small_data: Path) -> Samples:
    return load_samples(small_data, Split.TOWER_TRAIN, SOURCES, zoo_preprocessing("vit-s"))


@pytest.fixture(scope="module")
def finished(config: RunConfig, samples: Samples, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(config, samples, folder, progress=False)
    return folder


def _curve(folder: Path) -> list[tuple[float, ...]]:
    return [(row["step"], row["loss"], row["lr"], row["logit_scale"]) for row in read_curve(folder / CURVE)]


def test_a_run_leaves_weights_tokenizer_curve_and_plot(finished: Path) -> None:
    assert {CHECKPOINT, FINAL, TOKENIZER, CURVE, PLOT} <= {path.name for path in finished.iterdir()}
    rows = _curve(finished)
    assert [row[0] for row in rows] == list(range(len(rows)))
    assert all(math.isfinite(row[1]) for row in rows)


def test_a_resumed_run_has_the_curve_and_the_weights_of_an_uninterrupted_one(
    config: RunConfig, samples: Samples, finished: Path, tmp_path: Path
) -> None:
    total = len(_curve(finished))
    assert train(config, samples, tmp_path, progress=False, stop_at=2).step == 2
    # Rows after the checkpoint, as a kill leaves them, are replaced.
    with (tmp_path / CURVE).open("a") as file:
        file.write("2,9.9,0.1,14.0,1.0\n3,9")
    assert train(config, samples, tmp_path, progress=False).step == total
    assert _curve(tmp_path) == _curve(finished)
    expected, resumed = (load_average(folder / FINAL)[0] for folder in (finished, tmp_path))
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)


def test_the_same_seed_and_data_give_the_same_first_hundred_losses(
    config: RunConfig, samples: Samples, tmp_path: Path
) -> None:
    long = replace(config, schedule=replace(config.schedule, epochs=100))
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        assert train(long, samples, folder, progress=False, stop_at=100).step == 100
    assert len(_curve(first)) == 100
    assert _curve(first) == _curve(second)


def test_a_finished_run_is_not_trained_again(config: RunConfig, samples: Samples, finished: Path) -> None:
    before = _curve(finished)
    train(config, samples, finished, progress=False)
    assert _curve(finished) == before


def test_a_run_of_another_configuration_is_not_continued(config: RunConfig, samples: Samples, finished: Path) -> None:
    with pytest.raises(CheckpointError, match="another configuration"):
        train(replace(config, seed=6), samples, finished, progress=False)


def test_a_run_that_was_restored_is_not_trained_over(config: RunConfig, samples: Samples, tmp_path: Path) -> None:
    (tmp_path / FINAL).write_bytes(b"weights")
    with pytest.raises(CheckpointError, match="restored, not trained; remove it or choose another --out"):
        train(config, samples, tmp_path, progress=False)
    assert [each.name for each in tmp_path.iterdir()] == [FINAL]


def test_the_rate_rises_then_falls_to_zero(config: RunConfig) -> None:
    rates = [learning_rate(step, 100, replace(config.schedule, warmup_steps=10)) for step in range(101)]
    assert rates[9] == rates[10] == max(rates)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0, abs=1e-12)


def test_the_average_forgets_the_random_start_at_once_and_settles_at_its_decay() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(model.weight)
    average = {"weight": torch.zeros(1, 1)}
    update_average(average, model, step=0, decay=0.998)
    assert average["weight"].item() == pytest.approx(0.9)
    average = {"weight": torch.zeros(1, 1)}
    update_average(average, model, step=1_000_000, decay=0.998)
    assert average["weight"].item() == pytest.approx(0.002, rel=1e-3)


def test_the_text_tower_has_rates_of_its_own() -> None:
    model = build_model("resnet-l")
    optimizer = make_optimizer(model, ScheduleConfig(epochs=1, peak_lr=1.0), text_lr_factor=0.25)
    factor = {id(each): group["lr_factor"] for group in optimizer.param_groups for each in group["params"]}
    for name, parameter in model.named_parameters():
        assert factor[id(parameter)] == (0.25 if is_text(name) else 1.0)


def test_a_run_may_start_from_a_distilled_text_tower(
    config: RunConfig, samples: Samples, finished: Path, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    tower = text_tensors(build_model(config.model))
    save_tensors(tmp_path / TEXT_TOWER, tower, {})
    shutil.copy(finished / TOKENIZER, tmp_path / TOKENIZER)
    frozen = replace(config, text=TextConfig(init=str(tmp_path), lr_factor=0.0))
    state = train(frozen, samples, tmp_path / "run", progress=False, stop_at=2)
    for name, value in text_tensors(state.model).items():
        assert torch.equal(value, tower[name])
    assert (tmp_path / "run" / TOKENIZER).read_bytes() == (finished / TOKENIZER).read_bytes()


def test_a_checkpoint_from_before_a_key_existed_goes_on(
    config: RunConfig, samples: Samples, finished: Path, tmp_path: Path
) -> None:
    train(config, samples, tmp_path, progress=False, stop_at=3)
    tensors, metadata = load_tensors(tmp_path / CHECKPOINT)
    del metadata["config"]["text"]
    save_tensors(tmp_path / CHECKPOINT, tensors, metadata)
    train(config, samples, tmp_path, progress=False)
    assert _curve(tmp_path) == _curve(finished)
