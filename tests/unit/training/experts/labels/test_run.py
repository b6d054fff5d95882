"""Labelling runs: resumed, sharded, and not stopped by one bad picture."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.unit.training.experts.made_up_experts import (
    SEEN,
    MadeUpExpert,
    brightness,
    encoded_row,
    picture_row,
    refusing,
)
from training.experts.errors import ExpertError
from training.experts.labels.run import LabelSettings, Tally, in_shard, label_rows, parse_shard
from training.experts.labels.store import LabelStore
from training.experts.protocol import Kind

pytestmark = pytest.mark.torch

ROWS = [picture_row(number) for number in range(1, 41)]
SETTINGS = LabelSettings(SEEN, batch_size=4, part_images=8)


def test_every_picture_gets_the_map_that_the_expert_gave(tmp_path: Path) -> None:
    expert = MadeUpExpert()
    assert label_rows(ROWS, expert, tmp_path, SETTINGS) == Tally(labelled=40)
    assert expert.asked == [4] * 10
    found = LabelStore(tmp_path).maps([row.digest for row in ROWS])
    assert found.shape == (40, 16, 16)
    assert found[:, 3, 5].tolist() == list(range(1, 41))


def test_files_hold_as_many_images_as_they_should(tmp_path: Path) -> None:
    label_rows(ROWS, MadeUpExpert(), tmp_path, replace(SETTINGS, part_images=12))
    assert len(list(tmp_path.glob("part-*.arrow"))) == 4


def test_maps_may_be_kept_smaller_than_the_expert_gives_them(tmp_path: Path) -> None:
    def columns(images: np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.arange(16, dtype=np.uint8), images.shape[:3]).copy()

    label_rows(ROWS[:4], MadeUpExpert(columns), tmp_path, replace(SETTINGS, map_size=4))
    store = LabelStore(tmp_path)
    assert (store.description.size, store.description.geometry) == (4, SEEN.geometry)
    assert store.maps([ROWS[0].digest])[0].tolist() == [[2, 6, 10, 14]] * 4
    with pytest.raises(ExpertError, match="give another folder"):
        label_rows(ROWS, MadeUpExpert(columns), tmp_path, SETTINGS)
    with pytest.raises(ExpertError, match="maps of 17 pixels of pictures of 16"):
        replace(SETTINGS, map_size=17)


def test_a_second_run_asks_the_expert_for_nothing(tmp_path: Path) -> None:
    label_rows(ROWS, MadeUpExpert(), tmp_path, SETTINGS)
    expert = MadeUpExpert()
    assert label_rows(ROWS, expert, tmp_path, SETTINGS) == Tally(known=40)
    assert expert.asked == []


def test_a_picture_that_comes_twice_is_labelled_once(tmp_path: Path) -> None:
    assert label_rows([*ROWS[:3], *ROWS[:3]], MadeUpExpert(), tmp_path, SETTINGS) == Tally(labelled=3, known=3)


def test_shards_share_the_pictures_and_may_be_cut_anew_when_a_run_goes_on(tmp_path: Path) -> None:
    first = label_rows(ROWS, MadeUpExpert(), tmp_path, replace(SETTINGS, shard=(0, 3)))
    second = label_rows(ROWS, MadeUpExpert(), tmp_path, replace(SETTINGS, shard=(2, 3)))
    assert 0 < first.labelled < 40
    rest = label_rows(ROWS, MadeUpExpert(), tmp_path, SETTINGS)
    assert rest == Tally(labelled=40 - first.labelled - second.labelled, known=first.labelled + second.labelled)
    assert len(LabelStore(tmp_path)) == 40


def test_each_picture_is_in_one_shard() -> None:
    for row in ROWS:
        assert sum(in_shard(row.digest, (i, 5)) for i in range(5)) == 1


def test_a_picture_that_the_expert_cannot_read_does_not_cost_its_neighbours(tmp_path: Path) -> None:
    tally = label_rows(ROWS, MadeUpExpert(refusing([6, 7, 30])), tmp_path, SETTINGS)
    assert tally == Tally(labelled=37, failed=3)
    store = LabelStore(tmp_path)
    assert store.failures == {ROWS[i - 1].digest: f"ZeroDivisionError: picture {i} divides by zero" for i in (6, 7, 30)}
    assert store.maps([ROWS[4].digest])[0, 0, 0] == 5


def test_a_broken_picture_is_written_down(tmp_path: Path) -> None:
    broken = encoded_row(b"this is no picture")
    assert label_rows([ROWS[0], broken, ROWS[1]], MadeUpExpert(), tmp_path, SETTINGS) == Tally(labelled=2, failed=1)
    assert LabelStore(tmp_path).failures[broken.digest].startswith("cannot be decoded: ")


def test_a_map_that_knows_nothing_is_a_failure(tmp_path: Path) -> None:
    def nothing(images: np.ndarray) -> np.ndarray:
        depth = images[..., 0].astype(np.float32)
        return np.where(depth == 2, np.nan, depth).astype(np.float32)

    assert label_rows(ROWS[:4], MadeUpExpert(nothing, Kind.DEPTH), tmp_path, SETTINGS) == Tally(labelled=3, failed=1)
    assert "the depth of no pixel" in LabelStore(tmp_path).failures[ROWS[1].digest]


def test_failures_are_tried_again_on_demand_only(tmp_path: Path) -> None:
    label_rows(ROWS, MadeUpExpert(refusing([6])), tmp_path, SETTINGS)
    assert label_rows(ROWS, MadeUpExpert(), tmp_path, SETTINGS) == Tally(known=40)
    assert label_rows(ROWS, MadeUpExpert(), tmp_path, replace(SETTINGS, retry=True)) == Tally(labelled=1, known=39)
    assert LabelStore(tmp_path).failures == {}


def test_an_expert_that_fails_on_everything_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(ExpertError, match="failed on each of the first 16 images: picture 16 divides by zero"):
        label_rows(ROWS, MadeUpExpert(refusing(range(256))), tmp_path, SETTINGS)


def test_an_expert_that_breaks_on_the_way_ends_the_run_and_blames_no_picture(tmp_path: Path) -> None:
    broken = MadeUpExpert()

    def until_it_breaks(images: np.ndarray) -> np.ndarray:
        if len(broken.asked) > 2:
            raise RuntimeError("the device is lost")
        return brightness(images)

    broken.answer = until_it_breaks
    with pytest.raises(ExpertError, match="16 images in a row, then on one that it had labelled: the device is lost"):
        label_rows(ROWS, broken, tmp_path, SETTINGS)
    assert LabelStore(tmp_path).failures == {}
    assert label_rows(ROWS, MadeUpExpert(), tmp_path, SETTINGS) == Tally(labelled=32, known=8)


def test_many_bad_pictures_in_a_row_are_not_taken_for_a_broken_expert(tmp_path: Path) -> None:
    assert label_rows(ROWS, MadeUpExpert(refusing(range(5, 39))), tmp_path, SETTINGS) == Tally(labelled=6, failed=34)


def test_an_expert_that_is_broken_when_a_run_goes_on_blames_no_picture(tmp_path: Path) -> None:
    label_rows(ROWS[:8], MadeUpExpert(), tmp_path, SETTINGS)
    with pytest.raises(ExpertError, match="then on one that it had labelled"):
        label_rows(ROWS, MadeUpExpert(refusing(range(256))), tmp_path, SETTINGS)
    assert LabelStore(tmp_path).failures == {}


def test_what_fails_for_good_may_be_tried_again_however_much_it_is(tmp_path: Path) -> None:
    bad = MadeUpExpert(refusing(range(2, 31)))
    rows = [ROWS[0], *ROWS[30:], *ROWS[1:30]]
    assert label_rows(rows, bad, tmp_path, SETTINGS) == Tally(labelled=11, failed=29)
    again = [*ROWS[1:30], ROWS[0], *ROWS[30:]]
    assert label_rows(again, bad, tmp_path, replace(SETTINGS, retry=True)) == Tally(failed=29, known=11)


def test_a_map_of_another_size_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(ExpertError, match=r"classes must be uint8\[4, 16, 16\]; it gave uint8\[4, 15, 16\]"):
        label_rows(ROWS, MadeUpExpert(lambda images: brightness(images)[:, 1:]), tmp_path, SETTINGS)


def test_labels_of_another_version_are_not_mixed_in(tmp_path: Path) -> None:
    label_rows(ROWS[:4], MadeUpExpert(), tmp_path, SETTINGS)
    with pytest.raises(ExpertError, match="give another folder"):
        label_rows(ROWS, MadeUpExpert(version="2"), tmp_path, SETTINGS)


def test_two_processes_do_not_label_the_same_shard(tmp_path: Path) -> None:
    def again(images: np.ndarray) -> np.ndarray:
        label_rows(ROWS, MadeUpExpert(), tmp_path, SETTINGS)
        return brightness(images)

    tally = label_rows(ROWS[:4], MadeUpExpert(again), tmp_path, SETTINGS)
    assert tally.failed == 4
    assert "another process labels shard 0/1" in next(iter(LabelStore(tmp_path).failures.values()))


def test_progress_is_shown_on_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label_rows(ROWS, MadeUpExpert(), tmp_path, SETTINGS, progress=True)
    shown = capsys.readouterr()
    assert "made-up: 100%" in shown.err
    assert shown.out == ""


KILLED = """
import sys, time
from pathlib import Path
from tests.unit.training.experts.made_up_experts import MadeUpExpert, brightness
from tests.unit.training.experts.labels.test_run import ROWS, SETTINGS
from training.experts.labels.run import label_rows

def slowly(images):
    time.sleep(0.1)
    return brightness(images)

label_rows(ROWS, MadeUpExpert(slowly), Path(sys.argv[1]), SETTINGS)
"""


def test_a_killed_run_goes_on_where_its_last_file_ended(tmp_path: Path) -> None:
    run = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], cwd=Path(__file__).parents[4])
    until = time.monotonic() + 60
    while len(list(tmp_path.glob("part-*.arrow"))) < 2 and run.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    before = len(LabelStore(tmp_path))
    assert 16 <= before < 40
    expert = MadeUpExpert()
    assert label_rows(ROWS, expert, tmp_path, SETTINGS) == Tally(labelled=40 - before, known=before)
    assert sum(expert.asked) == 40 - before
    assert LabelStore(tmp_path).maps([row.digest for row in ROWS])[:, 0, 0].tolist() == list(range(1, 41))


def test_shards_are_written_as_fractions() -> None:
    assert parse_shard("2/8") == (2, 8)
    for text in ("8/8", "1", "a/b", "-1/2", "1/", ""):
        with pytest.raises(ExpertError, match="from 0/4 to 3/4"):
            parse_shard(text)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ExpertError, match="from 0 to 1"):
        LabelSettings(SEEN, shard=(2, 2))
    with pytest.raises(ExpertError, match="at least one"):
        LabelSettings(SEEN, batch_size=0)
