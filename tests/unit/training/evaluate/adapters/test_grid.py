"""Which fits are made."""

from __future__ import annotations

import pytest
from open_clip.model import CLIP

from training.adapters import attach
from training.adapters.settings import RESERVED, TRAINING_SETS, Setting, setting_of
from training.config import ConfigError
from training.evaluate.adapters.grid import (
    LONG_EPOCHS,
    RATES,
    SEEDS,
    TUNING_SEED,
    Grid,
    chosen_rates,
    designs,
    matched_widths,
    sweeps,
)
from training.evaluate.adapters.units import Result, Unit
from training.models.towers import build_model

pytestmark = pytest.mark.torch


def _result(unit: Unit, calibrate: float) -> Result:
    schedule = unit.config.schedule
    return Result(
        key=unit.key("pack"),
        label=unit.label,
        fitted=unit.fitted,
        seed=unit.config.seed,
        rate=schedule.peak_lr,
        epochs=schedule.epochs,
        batch_size=schedule.batch_size,
        design={},
        steps=1,
        loss=(1.0, 1.0),
        calibrate=calibrate,
        added={},
        share=0.0,
        seconds=0.0,
        machine="",
    )


@pytest.fixture(scope="module")
def tuned() -> list[Result]:
    """Results of both tuning parts, 0.01 being everybody's best rate."""
    grid = Grid()
    units = grid.units("rates", []) + grid.units("rates-long", [])
    return [_result(unit, abs(unit.config.schedule.peak_lr - 0.01)) for unit in units]


@pytest.fixture(scope="module")
def clip() -> CLIP:
    return build_model("vit-s")


def _added(clip: CLIP, label: str) -> int:
    return sum(attach(clip, designs()[label], seed=0).added().values())


@pytest.mark.parametrize("label", sorted(matched_widths()))
def test_a_matched_bottleneck_has_as_many_parameters_as_its_ensemble(clip: CLIP, label: str) -> None:
    width = matched_widths()[label]
    single = "both-bottleneck" if width == designs()["both-bottleneck"].width else f"both-bottleneck-w{width}"
    assert _added(clip, single) == _added(clip, label)


def test_every_design_fits_the_zoos_tower_and_has_its_label_as_a_name(clip: CLIP) -> None:
    everything = designs() | {label: what for label, (_, what) in sweeps().items()}
    for label, what in everything.items():
        assert what.name == label
        assert attach(clip, what, seed=0).adapter_parameters()


def test_rates_are_chosen_before_any_test_row_is_looked_at() -> None:
    units = Grid().units("rates", [])
    assert all(unit.tests == () and unit.config.seed == TUNING_SEED for unit in units)
    assert TUNING_SEED not in SEEDS
    assert {unit.config.schedule.peak_lr for unit in units} == set(RATES)


def test_the_best_rate_on_calibrate_rows_is_taken(tuned: list[Result]) -> None:
    assert set(chosen_rates(tuned).values()) == {0.01}
    later = [result for result in tuned if result.seed == TUNING_SEED]
    assert chosen_rates(later) == chosen_rates(tuned)


def test_other_seeds_choose_nothing(tuned: list[Result]) -> None:
    other = Result(**(tuned[0].__dict__ | {"seed": 0, "calibrate": -1.0, "rate": 0.5}))
    assert chosen_rates([*tuned, other]) == chosen_rates(tuned)


def test_a_part_waits_for_its_rates(tuned: list[Result]) -> None:
    waiting = Grid().units("adaptation", [])
    assert [unit.label for unit in waiting] == ["zero-shot"]
    ready = Grid().units("adaptation", tuned)
    assert len(ready) == 1 + len(SEEDS) * len(designs())
    assert {unit.config.schedule.peak_lr for unit in ready[1:]} == {0.01}


def test_every_part_of_the_grid_has_units_of_its_own(tuned: list[Result]) -> None:
    keys = [unit.key("pack") for part in Grid.PARTS for unit in Grid().units(part, tuned)]
    assert len(set(keys)) == len(keys)


def test_what_is_fitted_to_one_source_is_tested_on_it_alone(tuned: list[Result]) -> None:
    units = Grid().units("sources", tuned)
    assert {unit.fitted for unit in units} == set(RESERVED)
    assert all(unit.tests == (unit.fitted,) for unit in units)


def test_the_long_part_has_rates_of_its_own(tuned: list[Result]) -> None:
    short = [result for result in tuned if result.epochs != LONG_EPOCHS]
    assert Grid().units("long", short) == []
    assert {unit.config.schedule.epochs for unit in Grid().units("long", tuned)} == {LONG_EPOCHS}


def test_labels_and_seeds_cut_the_grid_down(tuned: list[Result]) -> None:
    units = Grid(labels=["msa"], seeds=(0, 1)).units("adaptation", tuned)
    assert [(unit.label, unit.config.seed) for unit in units] == [("zero-shot", 0), ("msa", 0), ("msa", 1)]


def test_an_unknown_label_or_part_is_refused() -> None:
    with pytest.raises(ConfigError, match="'mas'"):
        Grid(labels=["mas"])
    with pytest.raises(ConfigError, match="'rate'"):
        Grid().units("rate", [])


@pytest.mark.parametrize(
    ("fitted", "tested", "expected"),
    [
        ("pretraining", "flickr8k", Setting.REGULAR),
        ("pretraining", "mnist", Setting.ZERO_SHOT),
        ("reserved", "mnist", Setting.ADAPTATION),
        ("mnist", "mnist", Setting.ADAPTATION),
        ("mnist", "clothing", None),
        ("reserved", "cifar100", Setting.RETURN),
    ],
)
def test_settings_follow_from_what_was_fitted_and_what_is_tested(
    fitted: str, tested: str, expected: Setting | None
) -> None:
    assert setting_of(fitted, tested) == expected


def test_no_training_set_of_new_sources_holds_one_that_a_tower_saw() -> None:
    assert not set(TRAINING_SETS["reserved"]) & set(TRAINING_SETS["pretraining"])
