"""The record of a loss by its terms."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from training.experts.fitting.terms import format_terms, plot_terms, read_terms, start_terms

pytestmark = pytest.mark.torch


def test_a_record_from_before_is_cut_and_a_new_one_begins_with_its_header(tmp_path: Path) -> None:
    path = tmp_path / "terms.csv"
    start_terms(path, before_step=0)
    header = path.read_text()
    path.write_text(header + "0,1,,,\n1,2,,,\n2,3,,,\n3,1")
    start_terms(path, before_step=2)
    assert path.read_text() == header + "0,1,,,\n1,2,,,\n"
    start_terms(path, before_step=0)
    assert path.read_text() == header


def test_terms_are_read_as_they_were_written_and_missing_ones_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "terms.csv"
    start_terms(path, before_step=0)
    path.write_text(path.read_text() + format_terms(0, {"clip": 2.5, "depth": 1.0}) + format_terms(1, {"clip": 2.0}))
    assert read_terms(path) == {"clip": [(0, 2.5), (1, 2.0)], "depth": [(0, 1.0)]}


@pytest.mark.parametrize("terms", [{"clip": 1.0}, {"clip": 1.0, "classes": 2.0, "normals": 0.5}])
def test_the_plot_has_a_panel_for_every_term(terms: dict[str, float], tmp_path: Path) -> None:
    path = tmp_path / "terms.csv"
    start_terms(path, before_step=0)
    path.write_text(path.read_text() + "".join(format_terms(step, terms) for step in range(5)))
    plot_terms(path, tmp_path / "terms.png", "made up")
    with Image.open(tmp_path / "terms.png") as picture:
        assert picture.height == 120 * (1 + 2.5 * (1 if len(terms) == 1 else 2))
