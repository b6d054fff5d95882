"""From results to words, tables and plots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.unit.training.evaluate.experts.made_up import (
    better_with_experts,
    everything,
    report_of,
    result,
    small_pack,
    square_map,
)
from training.data.rows import DataError
from training.evaluate.experts.aims import (
    CLAIMS,
    aim_sentences,
    claim_sentences,
    is_reached,
    since_sentences,
    transfer_sentences,
)
from training.evaluate.experts.findings import Findings, rank_correlation
from training.evaluate.experts.grid import CLIPTEX, FT, PARTS, RECIPES, SCHEDULE, TRIED, Grid, Recipe, count_units
from training.evaluate.experts.measures import LINEAR_PROBES, SSD
from training.evaluate.experts.plots import aligned, colours, plot_features, principal_axes, write_plots
from training.evaluate.experts.report import dump_report, frequencies, grouped, load_report
from training.evaluate.experts.tables import headline, tables
from training.evaluate.experts.tried import rate_sentences, reason_sentences, tried_sentences
from training.evaluate.experts.units import Unit
from training.experts.protocol import Kind

pytestmark = pytest.mark.torch

SHARED = 4
"""Ways that both backbones try, which need no baseline of their own."""


def alike(unit: Unit, probe: str) -> float:
    """Seeds differ, and nothing else does but by chance."""
    return 0.3 + 0.01 * ((unit.seed * 7 + len(unit.label) * 3 + len(probe)) % 5)


def test_gains_beyond_the_interval_reach_the_aims() -> None:
    findings = Findings(report_of(everything(better_with_experts)))
    lines = aim_sentences(findings)
    assert len(lines) == 2 * (len(LINEAR_PROBES) + 2)
    assert all(line.endswith("reached.") for line in lines)
    assert (
        "**CLIPTeX above CLIP-FT, segmentation, scenes, linear, `vit-s`**: +10.2 [+9.7, +10.7] (n = 3) mIoU" in lines[0]
    )
    assert is_reached(findings, "vit-s")
    assert reason_sentences(findings) == ["`vit-s`: every aim is reached.", "`resnet-l`: every aim is reached."]


def test_a_smaller_error_is_a_gain() -> None:
    gain = Findings(report_of(everything(better_with_experts))).gain("vit-s", "cliptex", "ft", "scenes/depth/linear")
    assert gain is not None
    assert gain.is_above
    assert gain.mean == pytest.approx(0.102)


def test_an_aim_that_is_reached_below_the_usual_answer_says_so() -> None:
    report = report_of(everything(better_with_experts))
    blind = {"scenes/depth": {"abs_rel": 0.1}, "scenes/normals": {"within_30": 0.4}}
    lines = aim_sentences(Findings(replace(report, blind=blind)))
    assert lines[1].endswith(
        "reached. Yet its 0.219 is no better than the usual answer, 0.100, which looks at no picture."
    )
    assert lines[2].endswith("reached.")


def test_what_fine_tuning_changes_is_told_against_the_backbone_as_it_was() -> None:
    def forgetful(unit: Unit, _: str) -> float:
        return 0.4 if unit.config is None else 0.3 + 0.001 * unit.seed

    first, second, *_ = since_sentences(Findings(report_of(everything(forgetful))))
    lost = "-9.9 [-10.1, -9.7] (n = 3)"
    assert first == f"`vit-s`, CLIP-FT: {lost} points of zero-shot accuracy, {lost} of recall at 1."
    assert second.startswith("`vit-s`, CLIPTeX: -9.9")
    assert all("not measured yet" in line for line in since_sentences(Findings(report_of([]))))


def test_what_chance_explains_misses_the_aims_and_what_was_tried_is_named() -> None:
    findings = Findings(report_of(everything(alike)))
    assert any("**missed**" in line for line in aim_sentences(findings))
    first, second = reason_sentences(findings)
    assert f"by none of the {len(TRIED)} other ways that were tried beyond the interval of their 2 seeds; " in first
    assert "ahead on average: " in first
    assert f"by none of the {SHARED} other ways that were tried" in second
    assert len(tried_sentences(findings)) == len(TRIED) + SHARED


def test_a_loss_of_what_was_known_is_missed() -> None:
    def forgetful(unit: Unit, probe: str) -> float:
        loss = 0.02 if unit.label == CLIPTEX.label and probe.endswith("zero-shot") else 0.0
        return better_with_experts(unit, probe) - loss

    findings = Findings(report_of(everything(forgetful)))
    lines = [line for line in aim_sentences(findings) if "Zero-shot accuracy" in line]
    assert all("-2.0 [-2.0, -2.0] (n = 3) points: **missed**." in line for line in lines)
    assert not is_reached(findings, "vit-s")
    assert reason_sentences(findings)[0] == "`vit-s`: the dense tasks are reached, zero-shot accuracy **missed**."


def test_what_is_missed_without_examples_is_said_beside_a_missed_dense_task() -> None:
    def forgetful(unit: Unit, probe: str) -> float:
        return alike(unit, probe) - (0.2 if unit.label == CLIPTEX.label and probe.endswith("retrieval") else 0.0)

    lines = reason_sentences(Findings(report_of(everything(forgetful))))
    assert all("recall at 1 **missed** as well" in line for line in lines)


def test_what_was_not_tried_yet_mends_nothing_and_is_not_said_to_fail() -> None:
    first = reason_sentences(Findings(report_of(everything(alike, ("main",)))))[0]
    assert "what else was planned is not measured yet" in first
    assert "none of the" not in first


def test_aims_that_hold_within_doubt_say_so() -> None:
    def doubtful(unit: Unit, probe: str) -> float:
        noise = 0.02 * (unit.seed - 1) if unit.label == CLIPTEX.label and probe.endswith("zero-shot") else 0.0
        return better_with_experts(unit, probe) + noise

    first = reason_sentences(Findings(report_of(everything(doubtful))))[0]
    assert first == "`vit-s`: every aim is reached, what is known without examples within doubt."


def test_the_best_rate_of_calibrate_rows_is_told_beside_the_studys() -> None:
    def prefers(rate: float) -> Callable[[Unit, str], float]:
        return lambda unit, _: 0.5 if unit.config is not None and unit.config.schedule.peak_lr == rate else 0.4

    one, _ = rate_sentences(Findings(report_of(everything(prefers(SCHEDULE.peak_lr), ("rates",)))))
    assert (
        one
        == "`vit-s`: 40.0 at 0.0001, 50.0 at 0.0003, 40.0 at 0.001; the best is 0.0003, which the study has (n = 1)."
    )
    other, _ = rate_sentences(Findings(report_of(everything(prefers(1e-3), ("rates",)))))
    assert other.endswith("the best is 0.001, while the study has 0.0003 (n = 1).")
    assert all("not measured yet" in line for line in rate_sentences(Findings(report_of([]))))


@pytest.mark.parametrize("parts", [(), ("main",), ("roles",), PARTS])
def test_pages_are_whole_whatever_was_computed_so_far(parts: tuple[str, ...], tmp_path: Path) -> None:
    report = report_of(everything(better_with_experts, parts))
    text = tables(report, write_plots(report, tmp_path))
    for table in range(1, 7):
        assert f"table {table})" in text
    assert ("not measured yet" in text) == (parts != PARTS)
    assert headline(report).startswith("- **CLIPTeX above CLIP-FT")
    assert all(f"({path.name})" in text for path in tmp_path.glob("*.png"))
    assert "nan" not in text


def test_one_seed_decides_nothing() -> None:
    results = [each for each in everything(better_with_experts) if each.seed == 0]
    findings = Findings(report_of(results))
    assert all("(n = 1)" in line and "a single seed decides nothing" in line for line in aim_sentences(findings))
    assert all("not measured yet" in line for line in aim_sentences(Findings(report_of([]))))
    assert is_reached(findings, "vit-s") is None
    assert all("not measured yet" in line for line in claim_sentences(findings))


def test_the_papers_orderings_are_counted() -> None:
    findings = Findings(report_of(everything(better_with_experts)))
    lines = claim_sentences(findings)
    asked = [claim for claim in CLAIMS if claim.main]
    assert f"of {len(asked)} orderings" in lines[1]
    text = tables(findings.report, ())
    assert all(f"`{claim.one}` above `{claim.other}`" in text for claim in CLAIMS)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_lost_fit_is_said_and_no_figure(lost: int) -> None:
    units = [unit for unit in Grid(3).units("main") if (unit.tower, unit.label) == ("vit-s", "ft")]
    results = [result(unit, better_with_experts, lost=unit.seed == lost) for unit in units]
    (group,) = grouped(results)
    assert (group.seeds, group.lost) == (tuple({0, 1, 2} - {lost}), 1)
    assert group.scores.keys() == results[(lost + 1) % 3].scores.keys()
    assert all(len(values) == 2 for metrics in group.scores.values() for values in metrics.values())
    alone = grouped([results[lost]])
    assert alone[0].seeds == ()
    assert Findings(replace(report_of([]), groups=alone)).mean("vit-s", "ft", SSD) is None


def test_a_report_comes_back_from_its_file(tmp_path: Path) -> None:
    report = report_of(everything(better_with_experts, ("main",)))
    path = tmp_path / "experts.json"
    path.write_text(dump_report(report))
    first = load_report(path)
    path.write_text(dump_report(first))
    assert load_report(path) == first
    path.write_text("{}")
    with pytest.raises(DataError, match="not a report"):
        load_report(path)


def test_classes_gain_by_how_often_they_are_seen() -> None:
    lines = transfer_sentences(Findings(report_of(everything(better_with_experts))))
    assert lines[0].startswith("`vit-s`: the IoU of 2 of 2 classes is above CLIP-FT's")


def test_ranks_correlate_as_they_rise_or_fall_together() -> None:
    assert rank_correlation([1, 2, 3], [10, 20, 90]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, -9]) == pytest.approx(-1)
    assert rank_correlation([1, 1, 1], [3, 2, 1]) == 0
    assert rank_correlation([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(0.9487, abs=1e-4)


def test_a_class_is_seen_where_it_covers_enough_of_a_picture() -> None:
    chosen = small_pack().sets["photographs"]
    maps = replace(
        chosen.maps["pseudo-classes"],
        kind=Kind.CLASSES,
        classes=("background", "ball", "box"),
        maps=(square_map(1), square_map(1), square_map(2), None),
    )
    found = frequencies(replace(chosen, maps={"pseudo-classes": maps}))
    assert found == {"ball": pytest.approx(2 / 3), "box": pytest.approx(1 / 3)}


def test_every_part_has_units_of_its_own_and_every_recipe_its_baseline() -> None:
    grid = Grid(20)
    assert count_units(grid) == {
        "main": 20,
        "roles": 12,
        "heads": 3,
        "tried": 2 * (len(TRIED) + 5 + SHARED) + 2,  # two seeds; what mends most has a third, with both backbones
        "rates": 6,
    }
    keys = [unit.key("pack") for part in PARTS for unit in grid.units(part)]
    assert len(keys) == len(set(keys))
    labels = {unit.label for part in PARTS for unit in grid.units(part)}
    assert {recipe.against for recipe in RECIPES.values()} <= labels
    with pytest.raises(DataError, match="no part"):
        grid.units("appendix")


@pytest.mark.parametrize("recipe", TRIED, ids=lambda recipe: recipe.label)
def test_a_baseline_differs_in_having_no_expert_alone(recipe: Recipe) -> None:
    taught = recipe.config("vit-s", 0, 20)
    ours = recipe.baseline().config("vit-s", 0, 20)
    assert (ours.schedule, ours.sides, ours.tasks.any) == (taught.schedule, taught.sides, False)
    if recipe.against == FT.label:
        usual = FT.config("vit-s", 0, 20)
        assert (usual.schedule, usual.sides) == (taught.schedule, taught.sides)


def test_principal_axes_become_colours(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    places = rng.normal(size=(2, 5, 4, 4)).astype(np.float32) * np.array([9, 5, 3, 0.1, 0.1])[None, :, None, None]
    shown = colours(principal_axes(places.astype(np.float32)))
    assert shown.shape == (2, 4, 4, 3)
    assert shown.min() == 0
    assert shown.max() == 1
    # The first axis is the first channel, up to its sign.
    link = np.corrcoef(places[:, 0].ravel(), shown[..., 0].ravel())[0, 1]
    assert abs(link) > 0.95
    path = tmp_path / "features.png"
    pictures = rng.integers(0, 255, (2, 16, 16, 3), dtype=np.uint8)
    plot_features(pictures, {"clip": places.astype(np.float32)}, "vit-s", path)
    assert path.stat().st_size > 0


def test_axes_that_say_the_same_have_one_colour() -> None:
    axes = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
    first, second = aligned([axes, axes[..., [2, 0, 1]] * np.array([-1, 1, -1], dtype=np.float32)])
    np.testing.assert_array_equal(first, axes)
    np.testing.assert_array_equal(second, axes)
