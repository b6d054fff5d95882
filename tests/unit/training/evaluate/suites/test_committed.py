"""What is committed about the bundled zoo is about the bundled zoo, and follows from the committed report."""

from __future__ import annotations

import pytest

from service.repository import load_zoo
from tests.conftest import ROOT
from training.evaluate.card import fill
from training.evaluate.suites.zoo_card import card_sections
from training.evaluate.suites.zoo_report import load_report
from training.evaluate.suites.zoo_tables import tables

pytestmark = pytest.mark.torch

REPOSITORY, RESULTS = ROOT / "model_repository", ROOT / "docs/evaluation/zoo"
HINT = "run `python -m training evaluate --suite zoo --data ...`"


def test_the_committed_report_is_of_the_bundled_zoo() -> None:
    measured = load_report(RESULTS / "zoo.json").backbones
    bundled = {
        backbone.name: (backbone.image.config.sha256, backbone.text.config.sha256, backbone.temperature)
        for backbone in load_zoo(REPOSITORY).committee.backbones
    }
    found = {name: (facts.image_sha256, facts.text_sha256, facts.temperature) for name, facts in measured.items()}
    assert found == bundled, HINT


def test_the_committed_tables_are_those_of_the_report() -> None:
    assert (RESULTS / "README.md").read_text("utf-8") == tables(load_report(RESULTS / "zoo.json")), HINT


def test_the_model_card_is_up_to_date() -> None:
    card = (REPOSITORY / "README.md").read_text("utf-8")
    assert card == fill(card, card_sections(load_report(RESULTS / "zoo.json"), load_zoo(REPOSITORY))), HINT


def test_the_committed_results_stay_small() -> None:
    assert sum(path.stat().st_size for path in RESULTS.iterdir()) < 300_000
