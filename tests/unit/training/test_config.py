"""Run configurations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from training.config import ConfigError, load_config, parse_config
from training.models.towers import zoo_names

pytestmark = pytest.mark.torch

CONFIGS = sorted((Path(__file__).parents[3] / "training" / "configs").glob("*.toml"))


def _table(**changes: Any) -> dict[str, Any]:
    table: dict[str, Any] = {"name": "n", "family": "f", "model": "m", "seed": 0}
    return table | {"data": {"sources": ["s"]}, "schedule": {"epochs": 1, "peak_lr": 0.1}} | changes


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_configuration_names_itself_its_command_and_a_model_of_the_zoo(path: Path) -> None:
    config = load_config(path)
    assert config.name == path.stem
    assert config.model in zoo_names()
    assert path.read_text().splitlines()[0] == f"# python -m training train training/configs/{path.name} --data DATA"


def test_an_unknown_key_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"\[schedule\]: unknown key epoch"):
        parse_config(_table(schedule={"epoch": 1, "peak_lr": 0.1}), "run.toml")


def test_a_missing_key_is_refused_by_name() -> None:
    table = _table()
    del table["seed"]
    with pytest.raises(ConfigError, match="seed"):
        parse_config(table, "run.toml")


def test_a_reserved_source_is_refused() -> None:
    with pytest.raises(ConfigError, match="clothing is reserved"):
        parse_config(_table(data={"sources": ["clothing", "s"]}), "run.toml")


def test_weights_of_sources_that_are_not_there_are_refused() -> None:
    with pytest.raises(ConfigError, match="source_weights"):
        parse_config(_table(data={"sources": ["s"], "source_weights": {"t": 1.0}}), "run.toml")


def test_a_file_that_is_no_toml_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("name = ")
    with pytest.raises(ConfigError, match=r"run\.toml"):
        load_config(tmp_path / "run.toml")
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "none.toml")


def test_images_are_small_for_the_first_part_of_a_run() -> None:
    config = parse_config(_table(schedule={"epochs": 1, "peak_lr": 0.1, "small_side": 48, "small_share": 0.7}), "run")
    assert [config.schedule.image_side(step, 10) for step in (0, 6, 7, 9)] == [48, 48, None, None]
    assert parse_config(_table(), "run").schedule.image_side(0, 10) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": {"epochs": 1, "peak_lr": 0.1, "small_side": -1}},
        {"schedule": {"epochs": 1, "peak_lr": 0.1, "small_share": 1.5}},
        {"text": {"lr_factor": -1.0}},
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        parse_config(_table(**changes), "run")
