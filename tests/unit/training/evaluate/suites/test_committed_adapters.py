"""The committed page of the adapters suite is what its report says."""

from __future__ import annotations

import pytest

from tests.conftest import ROOT
from training.evaluate.adapters.aims import CLAIMS
from training.evaluate.adapters.report import load_report
from training.evaluate.adapters.tables import REPORT, tables

pytestmark = pytest.mark.torch

RESULTS = ROOT / "docs/evaluation/adapters"
HINT = "run `python -m training evaluate --suite adapters --data ...`"


def test_the_committed_tables_are_those_of_the_report() -> None:
    pictures = {path.stem for path in RESULTS.glob("*.png")}
    page = (RESULTS / "README.md").read_text("utf-8")
    assert page == tables(load_report(RESULTS / REPORT), sorted(pictures)), HINT
    assert all(f"({name}.png)" in page for name in pictures)


def test_every_ordering_that_the_paper_states_is_answered_or_said_to_be_unmeasured() -> None:
    page = (RESULTS / "README.md").read_text("utf-8")
    for claim in CLAIMS:
        assert f"`{claim.one}` above `{claim.other}`" in page


def test_the_committed_results_stay_small() -> None:
    assert sum(path.stat().st_size for path in RESULTS.iterdir()) < 500_000
