"""What is committed about searching galleries is about the bundled zoo, and follows from the committed report."""

from __future__ import annotations

import pytest

from service.pipeline.shipped.retrieval import load_shipped_retrieval
from service.repository import load_zoo
from tests.conftest import ROOT
from training.evaluate.card import OPENING, fill
from training.evaluate.retrieval.report import load_report
from training.evaluate.retrieval.tables import PICTURES, headline, tables
from training.evaluate.suites import committee
from training.evaluate.suites.retrieval import HEADLINE

pytestmark = pytest.mark.torch

REPOSITORY, RESULTS = ROOT / "model_repository", ROOT / "docs/evaluation/retrieval"
HINT = (
    "run `python -m training retrieval --data ...`, then "
    "`python -m training evaluate --suite retrieval --data ... --card README.md`"
)


def test_the_bundled_controllers_speak_for_the_bundled_zoo() -> None:
    zoo = load_zoo(REPOSITORY).committee
    shipped = load_shipped_retrieval(REPOSITORY, zoo)
    assert shipped is not None
    assert shipped.reason is None, HINT
    assert shipped.speaks_for(zoo.names)


def test_the_committed_report_is_of_the_bundled_zoo_and_its_controllers() -> None:
    report, zoo = load_report(RESULTS / "retrieval.json"), load_zoo(REPOSITORY).committee
    bundled = {
        backbone.name: (backbone.image.config.sha256, backbone.text.config.sha256, backbone.temperature)
        for backbone in zoo.backbones
    }
    measured = report.backbones
    found = {name: (facts.image_sha256, facts.text_sha256, facts.temperature) for name, facts in measured.items()}
    assert found == bundled, HINT
    shipped = load_shipped_retrieval(REPOSITORY, zoo)
    assert shipped is not None
    assert (report.shipped.name, report.shipped.sha256) == (shipped.name, shipped.file.digest), HINT
    assert report.shipped.about == shipped.file.about
    assert (report.shipped.prefix, report.shipped.thresholds) == (shipped.file.prefix, shipped.file.thresholds)


def test_the_committed_tables_are_those_of_the_report() -> None:
    assert (RESULTS / "README.md").read_text("utf-8") == tables(load_report(RESULTS / "retrieval.json")), HINT
    assert {path.stem for path in RESULTS.glob("*.png")} == set(PICTURES), HINT


def test_the_first_page_shows_the_headline_of_the_report() -> None:
    page = (ROOT / "README.md").read_text("utf-8")
    assert page == fill(page, {HEADLINE: headline(load_report(RESULTS / "retrieval.json"))}), HINT


def test_every_section_of_the_first_page_is_some_suites() -> None:
    page = (ROOT / "README.md").read_text("utf-8")
    assert set(OPENING.findall(page)) == {HEADLINE, committee.HEADLINE}


def test_a_folded_query_is_the_weighted_sum_of_cosines() -> None:
    assert load_report(RESULTS / "retrieval.json").folding_error <= 1e-5


def test_the_committed_results_stay_small() -> None:
    assert sum(path.stat().st_size for path in RESULTS.iterdir()) < 300_000
