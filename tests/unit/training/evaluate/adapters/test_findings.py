"""From units to means, intervals and differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.training.evaluate.adapters.made_up import everything, report_of, result
from training.adapters.settings import RESERVED, Setting
from training.evaluate.adapters.bench import LOST
from training.evaluate.adapters.findings import T_975, Findings, spread
from training.evaluate.adapters.grid import TUNING_SEED
from training.evaluate.adapters.grouping import grouped, rates_tried
from training.evaluate.adapters.report import SourceFacts, Tried

pytestmark = pytest.mark.torch


def test_the_interval_is_students() -> None:
    found = spread([0.1, 0.2, 0.3])
    assert found.mean == pytest.approx(0.2)
    assert found.low is not None
    assert found.low == pytest.approx(0.2 - 4.303 * 0.1 / 3**0.5)
    assert spread([0.4]) == replace(spread([0.4]), low=None, high=None, n=1)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=14))
def test_a_mean_lies_within_its_interval(values: list[float]) -> None:
    found = spread(values)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.mean <= found.high
    assert not (found.is_above and found.is_below)


def test_intervals_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    for n in (2, 3, 5, len(T_975) + 1):
        drawn = [spread(values) for values in rng.normal(size=(2000, n)).tolist()]
        covered = np.mean([each.low <= 0 <= each.high for each in drawn if each.low is not None and each.high])
        assert 0.93 < covered < 0.97


def test_differences_are_paired_by_seed() -> None:
    # Seeds differ much more than designs do.
    results = everything(lambda label, seed: 0.1 * seed + (0.02 if label == "msa" else 0.0) + 0.001 * seed * len(label))
    findings = Findings(report_of(results))
    gain = findings.gain("msa", "msa-l", Setting.ADAPTATION)
    alone = findings.mean("msa", Setting.ADAPTATION)
    assert gain is not None
    assert alone is not None
    assert gain.is_above
    assert alone.low is not None
    assert alone.low < 0


def test_what_is_not_fitted_stands_beside_every_seed() -> None:
    findings = Findings(report_of(everything(lambda label, seed: 0.3 if label == "zero-shot" else 0.4 + seed / 100)))
    gain = findings.gain("msa", "zero-shot", Setting.ADAPTATION)
    assert gain is not None
    assert gain.n == 3
    assert gain.mean == pytest.approx(0.11)
    turned = findings.gain("zero-shot", "msa", Setting.ADAPTATION)
    assert turned is not None
    assert turned.n == 3
    assert turned.mean == pytest.approx(-0.11)


def test_a_setting_of_which_a_source_is_missing_is_not_measured() -> None:
    results = [result("msa", seed, sources=RESERVED) for seed in range(3)]
    findings = Findings(report_of(results))
    assert findings.mean("msa", Setting.ADAPTATION) is not None
    assert findings.mean("msa", Setting.RETURN) is None
    assert findings.mean("msa", Setting.REGULAR) is None
    assert findings.labels(Setting.RETURN) == []


def test_units_under_a_rate_that_was_not_chosen_do_not_count() -> None:
    tuning = [result("msa", TUNING_SEED, rate=rate, calibrate=loss) for rate, loss in ((1e-3, 2.0), (1e-2, 1.0))]
    early = [result("msa", seed, 0.9, rate=1e-3) for seed in range(5)]
    late = [result("msa", seed, 0.4, rate=1e-2) for seed in range(2)]
    (group,) = grouped([*tuning, *early, *late])
    assert (group.rate, group.seeds) == (1e-2, (0, 1))
    (without,) = grouped([*early, *late])
    assert without.rate == 1e-3


def test_a_variant_counts_under_the_rate_of_what_it_varies() -> None:
    tuning = result("msa", TUNING_SEED, rate=1e-2)
    units = [result("msa-l", seed, rate=rate) for seed in range(2) for rate in (1e-2, 3e-2)]
    (group,) = grouped([tuning, *units])
    assert group.rate == 1e-2


def test_a_seed_that_was_computed_twice_is_one() -> None:
    (group,) = grouped([result("msa", 0, 0.1, sources=("mnist",)), result("msa", 0, 0.2, sources=("clothing",))])
    assert group.seeds == (0,)
    assert {source: metrics["balanced"] for source, metrics in group.scores.items()} == {
        "mnist": (0.1,),
        "clothing": (0.2,),
    }


def test_lost_fits_are_counted_and_left_out() -> None:
    lost = replace(result("msa", 1), scores={}, calibrate=LOST)
    (group,) = grouped([result("msa", 0), lost])
    assert (group.seeds, group.lost) == ((0,), 1)
    (nothing,) = grouped([lost])
    assert (nothing.seeds, nothing.scores, nothing.calibrate) == ((), {}, ())
    assert Findings(report_of([lost])).mean("msa", Setting.ADAPTATION) is None


def test_rates_at_an_edge_and_lost_ones_are_told() -> None:
    fits = [result("msa", TUNING_SEED, rate=rate, calibrate=loss) for rate, loss in ((1e-3, 2.0), (1e-2, 1.0))]
    assert rates_tried([*fits, result("msa", 0)]) == (Tried("msa", "reserved", 5, ((1e-3, 2.0), (1e-2, 1.0))),)
    assert rates_tried(fits)[0].at_edge
    (within,) = rates_tried([*fits, result("msa", TUNING_SEED, rate=3e-2, calibrate=LOST)])
    assert within.rates[-1] == (3e-2, None)
    assert within.best == 1e-2
    assert not within.at_edge


def test_captions_that_are_class_names_in_other_words_make_no_search() -> None:
    assert SourceFacts(600, 505, 18).metric == "text R@1"
    assert SourceFacts(600, 290, 200).metric == "balanced"
    assert SourceFacts(600, 10, 0).metric == "text R@1"
