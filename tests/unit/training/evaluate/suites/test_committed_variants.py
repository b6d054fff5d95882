"""The committed comparison of variants is of the bundled zoo, and what the zoo does follows from it."""

from __future__ import annotations

import pytest

from service.repository import load_zoo
from tests.conftest import ROOT
from training.evaluate.suites.variants_report import load_report
from training.evaluate.suites.variants_tables import should_vote, tables

pytestmark = pytest.mark.torch

RESULTS = ROOT / "docs/evaluation/variants"
HINT = "run `python -m training evaluate --suite variants --data ...`"


def test_the_committed_report_is_of_the_bundled_zoo() -> None:
    report, zoo = load_report(RESULTS / "variants.json"), load_zoo(ROOT / "model_repository")
    measured = report.committee | {variant.name: variant.facts for variant in report.variants}
    bundled = {
        backbone.name: (backbone.image.config.sha256, backbone.text.config.sha256, backbone.temperature)
        for backbone in zoo.backbones
    }
    found = {name: (facts.image_sha256, facts.text_sha256, facts.temperature) for name, facts in measured.items()}
    assert found == bundled, HINT
    assert tuple(report.committee) == zoo.committee.names, HINT


def test_a_variant_votes_by_default_just_where_the_committee_is_better_with_it() -> None:
    for variant in load_report(RESULTS / "variants.json").variants:
        assert (variant.votes == "by_default") is should_vote(variant)


def test_the_committed_tables_are_those_of_the_report() -> None:
    assert (RESULTS / "README.md").read_text("utf-8") == tables(load_report(RESULTS / "variants.json")), HINT
