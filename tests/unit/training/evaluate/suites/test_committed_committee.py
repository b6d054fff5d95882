"""What is committed about the bundled committee is about the bundled zoo, and follows from the committed report."""

from __future__ import annotations

import pytest

from service.repository import load_zoo
from tests.conftest import ROOT
from training.evaluate.card import fill
from training.evaluate.committee.report import load_report
from training.evaluate.suites.committee import HEADLINE, headline, pictures, tables

pytestmark = pytest.mark.torch

RESULTS = ROOT / "docs/evaluation/committee"
HINT = "run `python -m training evaluate --suite committee --data ... --card README.md`"


def test_the_committed_report_is_of_the_bundled_zoo() -> None:
    measured = load_report(RESULTS / "committee.json").backbones
    bundled = {
        backbone.name: (backbone.image.config.sha256, backbone.text.config.sha256, backbone.temperature)
        for backbone in load_zoo(ROOT / "model_repository").committee.backbones
    }
    found = {name: (facts.image_sha256, facts.text_sha256, facts.temperature) for name, facts in measured.items()}
    assert found == bundled, HINT


def test_the_committed_tables_are_those_of_the_report() -> None:
    report = load_report(RESULTS / "committee.json")
    assert (RESULTS / "README.md").read_text("utf-8") == tables(report), HINT
    assert {path.stem for path in RESULTS.glob("*.png")} == set(pictures(report)), HINT


def test_the_first_page_shows_the_headline_of_the_report() -> None:
    page = (ROOT / "README.md").read_text("utf-8")
    assert page == fill(page, {HEADLINE: headline(load_report(RESULTS / "committee.json"))}), HINT


def test_the_committed_results_stay_small() -> None:
    assert sum(path.stat().st_size for path in RESULTS.iterdir()) < 2_000_000
