"""Made pictures as a source: whole, resumable, and never mixed."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from service.pipeline.inputs.decode import decode
from training.data.parquet import read_parquet
from training.data.rows import DataError
from training.data.samples import LIMITS
from training.experts.dense_source import (
    PER_PART,
    DensePicture,
    DenseSource,
    encode_picture,
    exact_label,
    label_folder,
    read_extras,
    write_dense_source,
)
from training.experts.errors import ExpertError
from training.experts.labels.store import LabelStore
from training.experts.locks import alone
from training.experts.protocol import Identity, Kind

pytestmark = pytest.mark.torch

CLASSES = Identity("exact-classes", "made up", "00" * 32, Kind.CLASSES, ("background", "dot"))
DEPTH = Identity("exact-depth", "made up", "00" * 32, Kind.DEPTH)


@dataclass(frozen=True)
class Draw:
    """The picture of a number: its class is the number modulo 2, its depth the number; 13 has no depth. A picture of
    the number in `breaks` raises."""

    breaks: int = -1

    def __call__(self, number: int) -> DensePicture:
        if number == self.breaks:
            raise KeyboardInterrupt
        image = np.full((8, 8, 3), number % 250, np.uint8)
        image[0, 0] = (number // 250, 1, 2)
        classes = np.full((8, 8), number % 2, np.uint8)
        depth = np.full((8, 8), np.nan if number == 13 else number, np.float32)
        labels = {"exact-classes": exact_label(CLASSES, classes), "exact-depth": exact_label(DEPTH, depth)}
        return DensePicture(encode_picture(image), (f"number {number}",), labels, {"number": number})


def source(made: Mapping[str, Any] | None = None, breaks: int = -1) -> DenseSource[int]:
    return DenseSource("numbers", False, 8, (CLASSES, DEPTH), made or {"by": "a test"}, Draw(breaks))


def test_a_source_is_read_like_any_other_and_its_labels_belong_to_its_pictures(tmp_path: Path) -> None:
    path = write_dense_source(tmp_path, source(), range(20))
    assert path == tmp_path / "numbers.parquet"
    rows = list(read_parquet(path))
    assert [row.captions for row in rows] == [(f"number {number}",) for number in range(20)]
    assert not any(row.test for row in rows)
    digests = [row.digest for row in rows]
    classes = LabelStore(label_folder(tmp_path, "numbers", "exact-classes"))
    assert classes.maps(digests)[:, 0, 0].tolist() == [number % 2 for number in range(20)]
    assert classes.description.identity == CLASSES
    depth = LabelStore(label_folder(tmp_path, "numbers", "exact-depth"))
    assert depth.maps(digests)[[3, 19], 4, 4].tolist() == [3.0, 19.0]
    assert depth.failures == {digests[13]: "the expert knows the depth of no pixel"}
    extras = read_extras(path)
    assert [extras[digest] for digest in digests] == [{"number": number} for number in range(20)]


def test_a_killed_run_goes_on_and_ends_with_what_an_undisturbed_one_writes(tmp_path: Path) -> None:
    jobs = range(2 * PER_PART + 3)
    whole = write_dense_source(tmp_path / "whole", _ready(tmp_path / "whole"), jobs)
    cut = _ready(tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        write_dense_source(tmp_path / "cut", replace(cut, draw=Draw(breaks=PER_PART + 5)), jobs)
    assert not (tmp_path / "cut" / "numbers.parquet").exists()
    # A second picture that breaks shows that the first part is not made again.
    again = write_dense_source(tmp_path / "cut", replace(cut, draw=Draw(breaks=7)), jobs)
    assert again.read_bytes() == whole.read_bytes()
    assert sorted(each.name for each in (tmp_path / "cut").iterdir()) == ["labels", "numbers.parquet"]


def _ready(folder: Path) -> DenseSource[int]:
    folder.mkdir()
    return source()


def test_two_processes_write_what_one_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.experts.dense_source.PER_PART", 3)
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = write_dense_source(tmp_path / "one", source(), range(8))
    two = write_dense_source(tmp_path / "two", source(), range(8), workers=2)
    assert one.read_bytes() == two.read_bytes()


def test_a_source_that_is_there_is_left_alone_if_it_was_made_alike(tmp_path: Path) -> None:
    path = write_dense_source(tmp_path, source(), range(4))
    before = path.stat().st_mtime_ns
    assert write_dense_source(tmp_path, source(breaks=1), range(4)) == path
    assert path.stat().st_mtime_ns == before
    with pytest.raises(ExpertError, match=r"numbers\.parquet: was made with other settings"):
        write_dense_source(tmp_path, source({"by": "another"}), range(4))


def test_an_unfinished_run_with_other_settings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_dense_source(tmp_path, source(breaks=3), range(4))
    with pytest.raises(ExpertError, match=r"numbers\.parts: an unfinished run with other settings"):
        write_dense_source(tmp_path, source({"by": "another"}), range(4))


def test_a_picture_that_is_there_twice_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(ExpertError, match="numbers: 1 of 3 pictures are there twice"):
        write_dense_source(tmp_path, source(), [1, 2, 1])
    assert not (tmp_path / "numbers.parquet").exists()


def test_a_file_that_holds_no_rows_is_refused(tmp_path: Path, small_data: Path) -> None:
    assert all(extra == {} or "concept" in extra for extra in read_extras(small_data / "things.parquet").values())
    (tmp_path / "numbers.parquet").write_bytes(b"no Parquet")
    with pytest.raises(ExpertError, match="not a file of rows"):
        write_dense_source(tmp_path, source(), range(2))


def test_a_picture_comes_back_as_it_was() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(encode_picture(image))) as picture:
        assert np.array_equal(np.asarray(picture.convert("RGB")), image)


def test_rows_without_their_columns_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"x"]}), tmp_path / "bare.parquet")
    with pytest.raises(DataError, match=r"bare\.parquet: missing columns captions"):
        read_extras(tmp_path / "bare.parquet")


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/{}", "../labels", "-x"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    """Folders of that name are replaced."""
    with pytest.raises(ExpertError, match="is no name of a source"):
        write_dense_source(tmp_path, replace(source(), name=name.format(tmp_path)), range(2))
    assert list(tmp_path.iterdir()) == []


def test_labels_of_experts_beside_the_exact_ones_stay_where_they_are(tmp_path: Path) -> None:
    write_dense_source(tmp_path, source(), range(2)).unlink()
    others = label_folder(tmp_path, "numbers", "scene-classes") / "expert.json"
    others.parent.mkdir()
    others.write_text("hours of work")
    write_dense_source(tmp_path, source(), range(3))
    assert others.read_text() == "hours of work"
    assert len(LabelStore(label_folder(tmp_path, "numbers", "exact-classes"))) == 3


def test_two_processes_do_not_make_the_same_source(tmp_path: Path) -> None:
    parts = tmp_path / "numbers.parts"
    parts.mkdir()
    with alone(parts, "held"), pytest.raises(ExpertError, match=r"numbers\.parquet: another process makes it"):
        write_dense_source(tmp_path, source(), range(2))
    assert write_dense_source(tmp_path, source(), range(2)).exists()


def test_what_a_kill_left_of_a_finished_source_is_cleared_away(tmp_path: Path) -> None:
    write_dense_source(tmp_path, source(), range(2))
    (tmp_path / "numbers.parts").mkdir()
    write_dense_source(tmp_path, source(), range(2))
    assert not (tmp_path / "numbers.parts").exists()


def test_what_differs_from_a_source_that_is_there_is_named(tmp_path: Path) -> None:
    write_dense_source(tmp_path, source(), range(2))
    another = replace(source(), identities=(replace(CLASSES, digest="11" * 32), DEPTH))
    with pytest.raises(ExpertError, match=r"with other settings \(the program that draws\); remove it"):
        write_dense_source(tmp_path, another, range(2))


def test_a_photograph_that_cannot_be_decoded_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ExpertError, match="numbers: a picture that is to stand behind cannot be decoded"):
        write_dense_source(tmp_path, replace(source(), draw=_before_nothing), range(2))


def _before_nothing(number: int) -> DensePicture:
    decode(b"no picture", LIMITS, 8)
    raise AssertionError(f"{number} was drawn")


def test_rows_may_say_nothing_further(tmp_path: Path) -> None:
    columns = {"image": [b"x"], "captions": [["one"]], "label": ["a"], "split": ["train"], "source": ["bare"]}
    pq.write_table(pa.table(columns), tmp_path / "bare.parquet")
    assert list(read_extras(tmp_path / "bare.parquet").values()) == [{}]
