"""The grid that one CPU manages."""

from __future__ import annotations

import pytest

from tests.unit.training.evaluate.adapters.made_up import result
from training.adapters import attach
from training.adapters.settings import PRETRAINING, RESERVED
from training.cli_options import Plan
from training.config import ConfigError
from training.evaluate.adapters.aims import CLAIMS
from training.evaluate.adapters.grid import RATES, TUNING_SEED, UNIONS, Grid, designs, matched_widths
from training.evaluate.adapters.plans import FEW_SEEDS, LADDER, CpuGrid, make_grid, matched_label, next_rate, rate_like
from training.evaluate.adapters.units import Result, Unit
from training.models.towers import build_model

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def tuned() -> list[Result]:
    """What the search found: the rate in the middle is everybody's best."""
    return _searched("rates", "sizes-rates")


def _searched(*parts: str) -> list[Result]:
    return [_found(unit) for part in parts for unit in CpuGrid().units(part, [])]


def _found(unit: Unit) -> Result:
    rate = unit.config.schedule.peak_lr
    return result(unit.label, unit.config.seed, fitted=unit.fitted, rate=rate, calibrate=abs(rate - 3e-3))


def _all(tuned: list[Result]) -> list[Unit]:
    return [unit for part in CpuGrid.PARTS for unit in CpuGrid().units(part, tuned)]


def test_a_fit_that_both_plans_make_while_choosing_rates_is_one_unit() -> None:
    whole = {unit.key("pack") for unit in Grid(bf16=True).units("rates", [])}
    for part in ("rates", "sizes-rates"):
        assert {unit.key("pack") for unit in CpuGrid().units(part, [])} <= whole


def test_what_comes_first_needs_nothing_that_comes_later() -> None:
    """A run that is cut off leaves whole settings behind."""
    first = _searched("rates")
    assert {unit.fitted for unit in CpuGrid().units("rates", [])} == {"reserved"}
    asked = {unit.label for unit in CpuGrid().units("adaptation", first)}
    assert asked == {"zero-shot", *(result.label for result in first)}


def test_every_ordering_of_the_paper_has_its_fits(tuned: list[Result]) -> None:
    asked = {name for claim in CLAIMS for name in (claim.one, claim.other)}
    asked |= {matched_label(ensemble) for ensemble in matched_widths()}
    assert asked <= {unit.label for unit in _all(tuned)}


def test_every_unit_can_be_attached_and_none_is_asked_for_twice(tuned: list[Result]) -> None:
    units = _all(tuned)
    assert len({unit.key("pack") for unit in units}) == len(units)
    clip = build_model("vit-s")
    for what in {unit.config.design for unit in units if unit.label != "zero-shot"}:
        assert attach(clip, what, seed=0).adapter_parameters()


def test_the_headline_has_all_seeds_and_the_rest_a_few(tuned: list[Result]) -> None:
    headline = CpuGrid().units("adaptation", tuned)
    assert {unit.config.seed for unit in headline if unit.label == "msa"} == {0, 1, 2, 3, 4}
    for part in ("transfer", "scales", "masks", "sizes", "transfer-scales"):
        assert len({unit.config.seed for unit in CpuGrid().units(part, tuned)}) == FEW_SEEDS


def test_what_is_fitted_on_new_sources_is_tested_on_them_alone(tuned: list[Result]) -> None:
    tests = {(unit.fitted, frozenset(unit.tests)) for unit in _all(tuned) if unit.tests}
    assert tests == {("reserved", frozenset(RESERVED)), ("pretraining", frozenset({*RESERVED, *PRETRAINING}))}


def test_a_rate_found_on_the_reserved_sources_serves_both_training_sets(tuned: list[Result]) -> None:
    units = CpuGrid().units("transfer", tuned)
    assert {unit.fitted for unit in units} == {"pretraining"}
    assert {unit.config.schedule.peak_lr for unit in units if unit.label != "zero-shot"} == {3e-3}


def test_ablations_take_the_rate_of_the_whole(tuned: list[Result]) -> None:
    units = CpuGrid().units("scales", tuned)
    assert {unit.config.schedule.peak_lr for unit in units} == {3e-3}
    assert "msa-l" not in {unit.label for unit in CpuGrid().units("rates", [])}
    assert rate_like("msa-l") == ("msa-l", "msa")
    assert rate_like("ffn-rb-n4") == ("ffn-rb-n4", "ffn-rb")
    assert rate_like("msa") == ("msa",)


def test_a_best_rate_at_the_edge_is_looked_beyond() -> None:
    def tried(*losses: tuple[float, float]) -> float | None:
        fits = [result("msa", TUNING_SEED, rate=rate, calibrate=loss) for rate, loss in losses]
        return next_rate(fits, "msa", "reserved", 5)

    assert tried((1e-3, 3.0), (3e-3, 1.0), (1e-2, 2.0)) is None
    assert tried((1e-3, 3.0), (3e-3, 2.0), (1e-2, 1.0)) == 3e-2
    assert tried((1e-3, 1.0), (3e-3, 2.0), (1e-2, 3.0)) == 3e-4
    assert tried((LADDER[-1], 1.0), (1e-2, 3.0)) is None
    assert tried() is None
    others = [result("msa", 0, rate=1e-2), result("msa-lo", TUNING_SEED, rate=1e-2)]
    assert next_rate(others, "msa", "reserved", 5) is None


def test_nothing_is_beyond_rates_that_lie_within(tuned: list[Result]) -> None:
    assert CpuGrid().units("rates-beyond", tuned) == []
    higher = [Result(**(each.__dict__ | {"calibrate": -each.rate})) for each in tuned]
    for part in ("rates-further", "sizes-rates-beyond"):
        beyond = CpuGrid().units(part, higher)
        assert {unit.config.schedule.peak_lr for unit in beyond} == {3e-2}
        assert {unit.fitted for unit in beyond} == {"reserved"}
        assert all(unit.tests == () for unit in beyond)


def test_labels_cut_the_plan_down(tuned: list[Result]) -> None:
    grid = CpuGrid(labels=["msa", "msa-l"], seeds=(0,))
    assert {unit.label for unit in grid.units("rates", [])} == {"msa"}
    assert {unit.label for unit in grid.units("adaptation", tuned)} == {"zero-shot", "msa"}
    assert {unit.label for unit in grid.units("scales", tuned)} == {"msa-l"}
    assert grid.units("sizes", tuned) == []


def test_plans_are_made_by_name() -> None:
    assert type(make_grid(Plan.FULL)) is Grid
    assert isinstance(make_grid(Plan.CPU), CpuGrid)
    assert make_grid(Plan.CPU).schedule.bf16
    assert len(make_grid(Plan.FULL).units("rates", [])) == len(UNIONS) * len(designs()) * len(RATES)
    with pytest.raises(ConfigError, match="'mas'"):
        make_grid(Plan.CPU, labels=["mas"])
    with pytest.raises(ConfigError, match="'long'"):
        CpuGrid().units("long", [])
