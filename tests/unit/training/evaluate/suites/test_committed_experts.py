"""The committed page of the experts' suite is what its report says, of labels by the project's experts."""

from __future__ import annotations

import pytest

from tests.conftest import ROOT
from training.evaluate.experts.aims import CLAIMS
from training.evaluate.experts.report import load_report
from training.evaluate.experts.tables import REPORT, tables
from training.experts.known import load_expert

pytestmark = pytest.mark.torch

RESULTS = ROOT / "docs/evaluation/experts"
HINT = "run `python -m training evaluate --suite experts --data ...`"


def test_the_committed_tables_are_those_of_the_report() -> None:
    pictures = {path.stem for path in RESULTS.glob("*.png")}
    page = (RESULTS / "README.md").read_text("utf-8")
    assert page == tables(load_report(RESULTS / REPORT), sorted(pictures)), HINT
    assert all(f"({name}.png)" in page for name in pictures)


@pytest.mark.parametrize("task", ["classes", "depth", "normals"])
def test_the_labels_are_those_of_the_experts_that_come_with_the_project(task: str) -> None:
    digest = load_expert(f"scene-{task}").identity.digest
    for name in ("photographs", "scenes_fit"):
        by, labelled = load_report(RESULTS / REPORT).sets[name].labels[f"pseudo-{task}"]
        assert by.startswith(f"scene-{task} "), HINT
        assert f"({digest[:12]})" in by, HINT
        assert labelled > 0


def test_every_ordering_that_the_paper_states_is_answered_or_said_to_be_unmeasured() -> None:
    page = (RESULTS / "README.md").read_text("utf-8")
    for claim in CLAIMS:
        assert f"`{claim.one}` above `{claim.other}`" in page


def test_the_committed_results_stay_small() -> None:
    assert sum(path.stat().st_size for path in RESULTS.iterdir()) < 800_000
