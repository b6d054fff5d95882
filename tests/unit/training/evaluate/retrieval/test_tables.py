"""The report as JSON, as words and as pictures: nothing is said that does not follow from the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.training.evaluate.retrieval.made_up_report import file, report
from training.data.rows import DataError
from training.evaluate.retrieval.aims import MOST_GFLOPS, MOST_LOST, headline_sentences, verdicts
from training.evaluate.retrieval.plots import write_plots
from training.evaluate.retrieval.report import K, RetrievalReport, dump_report, load_report
from training.evaluate.retrieval.tables import PICTURES, headline, tables
from training.evaluate.statistics import Score

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def made() -> RetrievalReport:
    return report()


def changed(made: RetrievalReport, *, over_best: float, lost: float, share: float) -> RetrievalReport:
    """The report with one set and one kind of query, and with other findings."""
    direction = made.sets[0].directions[0]
    gains = direction.gains | {
        "nlc over best": {**direction.gains["nlc over best"], K: Score(over_best, over_best - 0.01, over_best + 0.01)},
        "cascade over nlc": {**direction.gains["cascade over nlc"], K: Score(-lost, -lost, -lost)},
    }
    cascade = replace(direction.committees["cascade"], gflops_share=share)
    direction = replace(direction, gains=gains, committees={**direction.committees, "cascade": cascade})
    return replace(made, sets=(replace(made.sets[0], directions=(direction,)),))


@pytest.mark.parametrize(
    ("over_best", "lost", "share", "words"),
    [
        (0.02, 0.004, 0.5, ["reached in 1 of 1 cases, 1 of them beyond doubt", "+2.0 [+1.0, +3.0] points; reached)"]),
        (0.005, 0.004, 0.5, ["reached in 1 of 1 cases, 0 of them", "reached, within doubt)"]),
        (-0.02, 0.004, 0.5, ["reached in 0 of 1 cases, 0 of them", "points; **missed**)"]),
        (0.02, 0.006, 0.5, ["**: reached in 0 of 1 cases.", "**missed**: it loses more)"]),
        (0.02, 0.004, 0.61, ["**: reached in 0 of 1 cases.", "**missed**: it costs more)"]),
        (0.02, 0.006, 0.61, ["**: reached in 0 of 1 cases.", "**missed**: it loses more and it costs more)"]),
        (0.02, MOST_LOST, MOST_GFLOPS, ["**: reached in 1 of 1 cases.", "escalated (reached)"]),
    ],
)
def test_aims_are_said_to_be_reached_where_they_are(
    made: RetrievalReport, over_best: float, lost: float, share: float, words: list[str]
) -> None:
    sentences = headline_sentences(changed(made, over_best=over_best, lost=lost, share=share))
    assert all(each in sentences for each in words), sentences
    first_page = headline(changed(made, over_best=over_best, lost=lost, share=share))
    assert first_page.count("**missed**") == (over_best < 0) + (lost > MOST_LOST or share > MOST_GFLOPS)


def test_every_set_and_kind_of_query_has_its_verdict(made: RetrievalReport) -> None:
    assert len(verdicts(made)) == 6
    text = tables(made)
    for words in (
        "## scenes\n",
        "## icons\n",
        "## scenes among 300\n",
        "scenes, text to image: ",
        "icons, image to text: ",
    ):
        assert words in text
    assert "the largest difference is 1.2e-07" in text
    assert "| scenes | text to image | 50 | 50.0 | 25.0 |" in text


def test_it_comes_back_from_the_file(made: RetrievalReport, tmp_path: Path) -> None:
    path = tmp_path / "retrieval.json"
    path.write_text(dump_report(made), encoding="utf-8")
    back = load_report(path)
    assert dump_report(back) == dump_report(made)
    assert tables(load_report(path)) == tables(back)
    assert back.shipped == made.shipped
    assert back.sets[0].directions[0].committees["nlc"].recall[K].value == pytest.approx(
        made.sets[0].directions[0].committees["nlc"].recall[K].value, abs=1e-5
    )


def test_what_is_no_report_is_refused(tmp_path: Path) -> None:
    (tmp_path / "retrieval.json").write_text('{"suite": "retrieval"}')
    with pytest.raises(DataError, match="not a report of the retrieval suite"):
        load_report(tmp_path / "retrieval.json")


def test_every_picture_that_the_tables_show_is_drawn_and_the_same_each_time(
    made: RetrievalReport, tmp_path: Path
) -> None:
    write_plots(made, tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == set(PICTURES)
    for name in PICTURES:
        assert f"({name}.png)" in tables(made)
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 10
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_plots(made, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


def test_a_prefix_of_one_is_drawn_and_told_as_well(tmp_path: Path) -> None:
    alone = report(file(prefix=("cheap",), thresholds=(1.0, 0.0)))
    write_plots(alone, tmp_path)
    assert "The cascade asks `cheap` first" in tables(alone)
