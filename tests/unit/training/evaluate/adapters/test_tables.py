"""What the page says of made-up units."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.training.evaluate.adapters.made_up import everything, report_of, result
from training.adapters.settings import Setting
from training.data.rows import DataError
from training.evaluate.adapters.aims import (
    NOT_YET,
    aim_sentences,
    best_ensemble,
    claim_sentences,
    verdict,
)
from training.evaluate.adapters.branches import SCALES, Branches
from training.evaluate.adapters.findings import Findings, Spread, spread
from training.evaluate.adapters.plots import write_plots
from training.evaluate.adapters.report import (
    AdaptersReport,
    Cloud,
    Features,
    Timing,
    dump_report,
    load_report,
)
from training.evaluate.adapters.tables import headline, masks_table, ranks_table, scales_section, sizes_table, tables
from training.evaluate.adapters.units import Result

pytestmark = pytest.mark.torch

PICTURES = ("shares", "units", "features", "scales")
NOISE = (0.0, 0.004, 0.001)


def _paper(label: str, seed: int) -> float:
    """Scores in the paper's order: the whole above its parts, everything above CLIP-Adapter, that above nothing."""
    worth = {
        "zero-shot": 0.0,
        "clip-adapter": 0.05,
        "msa": 0.5,
        "msa-lo": 0.49,
        "msa-lm": 0.4,
        "msa-ls": 0.39,
        "msa-l": 0.35,
        "msa-vision": 0.45,
        "both-pyramid": 0.44,
        "ffn-pyramid-n4": 0.43,
        "ffn-pyramid": 0.42,
        "ffn-pyramid-n1": 0.41,
        "ffn-mlp-n1": 0.3,
        "ffn-rb": 0.25,
        "on-top": 0.01,
        "without-msa": 0.2,
        "ffn-mlp-n4": 0.1,
        "att-bottleneck": 0.1,
        "both-bottleneck": 0.15,
    }.get(label, 0.2)
    # Further apart than seeds are, and not equally in each of them.
    return 0.3 + worth + (NOISE[seed % 3] * (1 + worth) if label != "zero-shot" else 0.0)


@pytest.fixture(scope="module")
def units() -> list[Result]:
    return everything(_paper)


@pytest.fixture(scope="module")
def report(units: list[Result]) -> AdaptersReport:
    return report_of(units)


def _with_extras(report: AdaptersReport) -> AdaptersReport:
    cloud = Cloud("msa", ((0.0, 0.1), (0.2, 0.3)), ((0.1, 0.1), (0.3, 0.3)), cosine=0.25, gap=0.75)
    points = ((0.0, 0.1), (0.2, 0.3))
    split = Branches(dict.fromkeys(SCALES, points), 0.8, dict.fromkeys(SCALES, 0.9))
    timing = Timing("a machine", 1, 32, 197, 768, 10, {"One-branch": 0.01, "Three-branch": 0.03})
    return replace(report, timing=timing, features=Features("openmoji", (cloud,), split))


def test_nothing_measured_is_said_and_fails_nowhere(tmp_path: Path) -> None:
    empty = report_of([])
    assert write_plots(empty, tmp_path) == ()
    text = tables(empty, ())
    assert text.count("Not measured yet.") >= 8
    assert "the order is reversed" not in text
    aims = aim_sentences(Findings(empty))
    assert [NOT_YET in line for line in aims] == [True, True, True, False]


def test_rates_alone_say_nothing_of_designs(units: list[Result]) -> None:
    rates = report_of([each for each in units if not each.scores])
    text = tables(rates, ())
    assert "| `msa` | reserved | 5 |" in text
    assert NOT_YET in aim_sentences(Findings(rates))[0]


def test_aims_are_reached_where_intervals_say_so(report: AdaptersReport) -> None:
    above, matched, close, small = aim_sentences(Findings(report))
    assert "over `clip-adapter`: reached." in above
    assert "over `both-bottleneck" in matched
    assert "(n = 3)" in matched
    assert matched.endswith(": reached.")
    assert "-1.0 [" in close
    assert close.endswith("reached.")
    assert "1.3 % by count: reached" in small


def test_aims_that_are_missed_are_called_so() -> None:
    order = {"msa": 0.5, "msa-lo": 0.4}
    findings = Findings(report_of(everything(lambda label, seed: order.get(label, 0.7) + seed / 1000)))
    above, _, close, _ = aim_sentences(findings)
    assert "**missed**" in above
    assert "**missed**" in close
    assert "**missed**" in aim_sentences(Findings(replace(findings.report, paper_share=0.06)))[3]


def test_one_seed_reaches_no_aim(units: list[Result]) -> None:
    single = Findings(report_of([each for each in units if each.seed not in (1, 2)]))
    assert [NOT_YET in line for line in aim_sentences(single)] == [True, True, True, False]
    assert all(NOT_YET in line for line in claim_sentences(single))


def test_the_ensemble_is_chosen_by_calibrate_rows_not_by_test_rows() -> None:
    def chosen(best: str) -> str | None:
        units = [
            result(label, seed, 0.9 if label == "msa" else 0.1, calibrate=0.5 if label == best else 1.0)
            for label in ("msa", "both-pyramid")
            for seed in range(2)
        ]
        return best_ensemble(Findings(report_of(units)))

    assert chosen("both-pyramid") == "both-pyramid"
    assert chosen("msa") == "msa"
    assert best_ensemble(Findings(report_of([]))) is None


def test_the_papers_order_is_found_where_it_is(report: AdaptersReport) -> None:
    adaptation, regular, zero_shot = claim_sentences(Findings(report))
    assert adaptation.startswith("adaptation: of 21 orderings that were measured 21 hold")
    assert "0 are reversed" in regular
    assert NOT_YET not in zero_shot


def test_the_papers_order_turned_round_is_called_reversed() -> None:
    turned = Findings(report_of(everything(lambda label, seed: 1 - _paper(label, seed))))
    assert "and 21 are reversed beyond it" in claim_sentences(turned)[0]
    assert "**does not hold: the order is reversed**" in tables(turned.report, ())


def test_a_missing_design_is_missing_in_the_count(units: list[Result]) -> None:
    fewer = Findings(report_of([each for each in units if each.label != "msa-ls"]))
    assert f"2 of 21 are {NOT_YET}" in claim_sentences(fewer)[0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.1, 0.11, 0.12], "holds"),
        ([0.1, -0.05, 0.1], "holds, within doubt"),
        ([-0.1, 0.05, -0.1], "does not show: reversed, within doubt"),
        ([-0.1, -0.11, -0.12], "**does not hold: the order is reversed**"),
        ([0.5], "a single seed decides nothing"),
    ],
)
def test_verdicts_follow_from_the_interval(values: list[float], expected: str) -> None:
    assert verdict(spread(values)) == expected
    assert isinstance(spread(values), Spread)


def test_scales_and_masks_have_their_tables(units: list[Result]) -> None:
    literal = [result("msa-literal", seed, _paper("msa", seed) - 0.1, rate=1e-2) for seed in range(3)]
    findings = Findings(report_of([*units, *literal]))
    assert "| MSA | zero-shot | 65." in scales_section(findings)
    (line,) = [each for each in masks_table(findings).splitlines() if each.startswith("| `msa` |")]
    assert "-10.0 [-10.0, -10.0] (n = 3)" in line


def test_sizes_and_ranks_are_shown_as_far_as_there_are_any(units: list[Result]) -> None:
    rank = [result("msa-lo-r4", seed, _paper("msa-lo", seed) - 0.05) for seed in range(3)]
    findings = Findings(report_of([*units, *rank]))
    (line,) = [each for each in ranks_table(findings).splitlines() if each.startswith("| 4 |")]
    assert line.startswith("| 4 | 10.0 | 74.2 [73.5, ")
    assert line.endswith(" (n = 3) | -5.0 [-5.0, -5.0] (n = 3) |")
    assert "| 8 |  | not measured yet |  |" in ranks_table(findings)
    sizes = sizes_table(findings)
    assert "| `ffn-pyramid` | 71." in sizes
    assert "att-rb" not in sizes


def test_long_fits_and_single_sources_have_sections(units: list[Result]) -> None:
    long = [result("msa", seed, 0.9, epochs=40) for seed in range(2)]
    single = [result("msa", seed, 0.7, fitted="mnist", sources=("mnist",)) for seed in range(2)]
    text = tables(report_of([*units, *long, *single]), ())
    assert "| `msa` | 80.2" in text.split("40 epochs in place of 5")[1].split("##")[0]
    assert "90.0 [90.0, 90.0] (n = 2)" in text
    assert "| `msa` | 70.0 ± 0.0 (2) |" in text
    # They are of another length: the main tables are as before.
    assert Findings(report_of([*units, *long])).mean("msa", Setting.ADAPTATION) == Findings(report_of(units)).mean(
        "msa", Setting.ADAPTATION
    )


def test_every_figure_says_how_many_seeds_and_which_machine(report: AdaptersReport) -> None:
    text = tables(report, PICTURES)
    assert f"{sum(report.machines.values())} on a made-up machine" in text
    assert "(n = 3)" in headline(report)
    assert all(f"![{name}]({name}.png)" in text for name in PICTURES)


def test_the_report_comes_back_from_its_file(report: AdaptersReport, tmp_path: Path) -> None:
    path = tmp_path / "adapters.json"
    full = _with_extras(report)
    path.write_text(dump_report(full))
    loaded = load_report(path)
    assert dump_report(loaded) == path.read_text()
    assert loaded.features == full.features
    assert [group.label for group in loaded.groups] == [group.label for group in full.groups]
    assert aim_sentences(Findings(loaded)) == aim_sentences(Findings(full))
    path.write_text('{"suite": "adapters"}')
    with pytest.raises(DataError, match="not a report of the adapters suite"):
        load_report(path)


def test_plots_are_drawn_of_what_there_is(report: AdaptersReport, tmp_path: Path) -> None:
    assert write_plots(_with_extras(report), tmp_path) == PICTURES
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.png" for name in PICTURES}


def test_the_backbone_alone_can_be_drawn(tmp_path: Path) -> None:
    assert write_plots(report_of([result("zero-shot")]), tmp_path) == ("shares",)


def test_times_are_relative_to_one_branch(report: AdaptersReport) -> None:
    text = tables(_with_extras(report), ())
    assert "| Three-branch | 3.00e-02 | 3.00 |" in text
    assert "(n = 1)" in text.split("## Features")[1].split("##")[0]
