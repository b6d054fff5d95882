"""The file that ships a generic controller: there and back, and every way in which it can be wrong."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from service.errors import RepositoryError
from service.pipeline.controller.opinions import OPINIONS
from service.pipeline.shipped.generic_file import ARRAYS, FILE_NAME, METADATA_KEY, read_generic, write_generic
from service.repository import Zoo
from tests.support.generic import JUDGED, about, metadata_of, rewrite, ship, trusting


def test_a_repository_without_the_file_ships_none(tmp_path: Path) -> None:
    assert read_generic(tmp_path) is None


def test_it_comes_back_as_it_was_written(tmp_path: Path, fake_zoo: Zoo) -> None:
    generic = trusting(2.5)
    path = write_generic(tmp_path, generic, about(fake_zoo))
    back = read_generic(tmp_path)
    assert back is not None
    assert all(np.array_equal(getattr(back.generic, name), getattr(generic, name)) for name in ARRAYS)
    assert back.about == about(fake_zoo)
    assert back.about.change(fake_zoo.backbones) is None
    assert back.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [each.name for each in tmp_path.iterdir()] == [FILE_NAME], "nothing else is left behind"


def test_the_same_controller_gives_the_same_bytes(tmp_path: Path, fake_zoo: Zoo) -> None:
    once, again = (ship(tmp_path, fake_zoo).read_bytes() for _ in range(2))
    assert once == again
    assert ship(tmp_path, fake_zoo, strength=1.0).read_bytes() != once


def test_gains_are_means_over_the_sources(fake_zoo: Zoo) -> None:
    worse = replace(JUDGED, accuracy=0.475, loss=1.375)
    both = about(fake_zoo, sources=(JUDGED, worse))
    assert both.accuracy_gain == pytest.approx(0.05)
    assert both.loss_gain == pytest.approx(0.0625)


def test_a_number_that_is_not_finite_is_never_written(tmp_path: Path, fake_zoo: Zoo) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_generic(tmp_path, trusting(1.0), about(fake_zoo, sources=(replace(JUDGED, loss=float("nan")),)))
    assert not list(tmp_path.iterdir())


def refused(root: Path) -> str:
    """Why the repository at `root` cannot be served: one sentence that names the file."""
    with pytest.raises(RepositoryError) as broken:
        read_generic(root)
    message = broken.value.message
    assert message.startswith(f"{root / FILE_NAME}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"\xff" * 64], ids=["empty", "pickle", "noise"])
def test_what_is_no_safetensors_file_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    assert "damaged" in refused(tmp_path)


def test_a_file_that_was_cut_is_damaged(tmp_path: Path, fake_zoo: Zoo) -> None:
    path = ship(tmp_path, fake_zoo)
    path.write_bytes(path.read_bytes()[:-3])
    assert "damaged" in refused(tmp_path)


def test_a_folder_and_a_link_to_nowhere_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    assert "cannot be read: Is a directory" in refused(tmp_path)
    (tmp_path / FILE_NAME).rmdir()
    (tmp_path / FILE_NAME).symlink_to(tmp_path / "nowhere")
    assert "cannot be read: No such file" in refused(tmp_path)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_is_named(tmp_path: Path, fake_zoo: Zoo, version: Any) -> None:
    path = ship(tmp_path, fake_zoo)
    rewrite(path, metadata_of(path) | {"format": version})
    assert f"its format is {version!r}, this version reads format 1" in refused(tmp_path)


def test_metadata_that_name_no_format_are_refused(tmp_path: Path, fake_zoo: Zoo) -> None:
    path = ship(tmp_path, fake_zoo)
    rewrite(path, {})
    assert "do not name a format" in refused(tmp_path)
    arrays = {name: getattr(trusting(1.0), name) for name in ARRAYS}
    for metadata in (None, {"other": "x"}, {METADATA_KEY: "{"}, {METADATA_KEY: "[]"}):
        save_file(arrays, path, metadata)
        assert "do not name a format" in refused(tmp_path)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": "seven"}, "'seed'"),
        ({"committee": [{"name": "small"}]}, "'committee.0.image'"),
        ({"sources": [{"name": "things"}]}, "'sources.0.rows_sha256'"),
        ({"sources": 3}, "'sources'"),
        ({"sources": []}, "no committee or no sources"),
        ({"committee": []}, "no committee or no sources"),
    ],
)
def test_wrong_metadata_are_named_by_field(tmp_path: Path, fake_zoo: Zoo, changes: dict[str, Any], named: str) -> None:
    path = ship(tmp_path, fake_zoo)
    rewrite(path, metadata_of(path) | changes)
    assert named in refused(tmp_path)


@pytest.mark.parametrize(
    "array",
    [
        None,
        np.zeros((1, OPINIONS + 1), dtype=np.float32),
        np.zeros((1, OPINIONS), dtype=np.float64),
        np.full((1, OPINIONS), np.nan, dtype=np.float32),
    ],
    ids=["missing", "other shape", "other type", "not finite"],
)
def test_arrays_that_are_none_of_a_generic_controller_are_refused(tmp_path: Path, fake_zoo: Zoo, array: Any) -> None:
    path = ship(tmp_path, fake_zoo)
    rewrite(path, w1=array)
    assert "its arrays are not those of a generic controller" in refused(tmp_path)


def test_a_committee_is_told_apart_by_what_an_answer_depends_on(fake_zoo: Zoo) -> None:
    made = about(fake_zoo)
    small, large = fake_zoo.backbones
    warmer = replace(large, image=replace(large.image, config=replace(large.image.config, temperature=2.0)))
    assert made.change((large, small)) is None, "opinions have no order"
    assert '"large", which it was made with, is not served' in str(made.change((small,)))
    assert '"large" has other weights, preprocessing or temperature' in str(made.change((small, warmer)))
