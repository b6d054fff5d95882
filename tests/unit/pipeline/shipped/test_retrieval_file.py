"""The file that ships retrieval controllers: there and back, and every way in which it can be wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from service.errors import RepositoryError
from service.pipeline.controller.controller import static_controller
from service.pipeline.shipped.files import METADATA_KEY
from service.pipeline.shipped.retrieval_file import ARRAYS, FILE_NAME, read_retrieval, write_retrieval
from service.policies import QueryKind
from service.repository import Zoo
from tests.support.generic import trusting
from tests.support.retrieval import EXIT, THRESHOLDS, about, controllers_of, ship


def test_a_repository_without_the_file_ships_none(tmp_path: Path) -> None:
    assert read_retrieval(tmp_path) is None


def test_it_comes_back_as_it_was_written(tmp_path: Path, fake_zoo: Zoo) -> None:
    controllers = controllers_of(fake_zoo)
    path = write_retrieval(tmp_path, controllers, ["small"], THRESHOLDS, about(fake_zoo))
    back = read_retrieval(tmp_path)
    assert back is not None
    for kind, controller in controllers.items():
        found = back.controllers[kind]
        assert (found.backbones, found.widths, found.any_subset) == (controller.backbones, controller.widths, True)
        assert all(np.array_equal(getattr(found, name), getattr(controller, name)) for name in ARRAYS)
    assert (back.prefix, back.thresholds, back.about) == (("small",), THRESHOLDS, about(fake_zoo))
    assert back.backbones == ("large", "small")
    assert back.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [each.name for each in tmp_path.iterdir()] == [FILE_NAME], "nothing else is left behind"


def test_static_weights_come_back_as_well(tmp_path: Path, fake_zoo: Zoo) -> None:
    static = static_controller(("large", "small"), (12, 8), np.array([0.5, -0.5], np.float32))
    write_retrieval(tmp_path, {"text": static, "image": static}, ["small"], THRESHOLDS, about(fake_zoo))
    back = read_retrieval(tmp_path)
    assert back is not None
    assert back.controllers["image"].hidden == 0
    assert np.array_equal(back.controllers["image"].c2, static.c2)


def test_the_same_content_gives_the_same_bytes(tmp_path: Path, fake_zoo: Zoo) -> None:
    once, again = (ship(tmp_path, fake_zoo).read_bytes() for _ in range(2))
    assert once == again
    assert ship(tmp_path, fake_zoo, seed=1).read_bytes() != once
    assert ship(tmp_path, fake_zoo, thresholds={"text": 0.25, "image": 0.25}).read_bytes() != once


def test_further_backbones_are_no_change_and_other_members_are(fake_zoo: Zoo) -> None:
    small, large = fake_zoo.backbones
    made = about(fake_zoo)
    further = replace(small, image=replace(small.image, config=replace(small.image.config, backbone="further")))
    warmer = replace(large, image=replace(large.image, config=replace(large.image.config, temperature=2.0)))
    assert made.change((further, large, small)) is None
    assert '"large", which it was made with, is not served' in str(made.change((small, further)))
    assert '"large" has other weights, preprocessing or temperature' in str(made.change((small, warmer)))


def test_what_would_be_refused_is_never_written(tmp_path: Path, fake_zoo: Zoo) -> None:
    both, made = controllers_of(fake_zoo), about(fake_zoo)
    other = static_controller(("large", "tiny"), (12, 8))
    generic = static_controller(("large", "small"), (12, 8), generic=trusting(1.0))
    fixed = replace(both["image"], any_subset=False)
    nan = replace(made, cascade={**made.cascade, "text": replace(EXIT, lost=float("nan"))})
    half: dict[QueryKind, float] = {"text": 0.5}
    above: dict[QueryKind, float] = {"text": 0.5, "image": 1.5}
    for controllers, prefix, thresholds, description, named in (
        ({**both, "image": other}, ("small",), THRESHOLDS, made, "weigh the same backbones"),
        ({**both, "image": generic}, ("small",), THRESHOLDS, made, "no generic part"),
        ({**both, "image": fixed}, ("small",), THRESHOLDS, made, "any subset"),
        (both, (), THRESHOLDS, made, "prefix"),
        (both, ("small", "large"), THRESHOLDS, made, "prefix"),
        (both, ("tiny",), THRESHOLDS, made, "prefix"),
        (both, ("small",), above, made, "less than or equal to 1"),
        (both, ("small",), half, made, "text and image"),
        (both, ("small",), THRESHOLDS, nan, "cascade"),
        (both, ("small",), THRESHOLDS, replace(made, committee=made.committee[:1]), "its committee"),
    ):
        with pytest.raises(ValueError, match=named):
            write_retrieval(tmp_path, controllers, prefix, thresholds, description)
    assert not list(tmp_path.iterdir())


def refused(root: Path) -> str:
    """Why the repository at `root` cannot be served: one sentence that names the file."""
    with pytest.raises(RepositoryError) as broken:
        read_retrieval(root)
    message = broken.value.message
    assert message.startswith(f"{root / FILE_NAME}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"\xff" * 64], ids=["empty", "pickle", "noise"])
def test_what_is_no_safetensors_file_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    assert "damaged" in refused(tmp_path)
    assert "python -m training retrieval" in refused(tmp_path)


def test_a_file_that_was_cut_is_damaged(tmp_path: Path, fake_zoo: Zoo) -> None:
    path = ship(tmp_path, fake_zoo)
    path.write_bytes(path.read_bytes()[:-3])
    assert "damaged" in refused(tmp_path)


def test_a_folder_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    assert "cannot be read: Is a directory" in refused(tmp_path)


def rewrite(path: Path, changes: Mapping[str, Any], **arrays: Any) -> None:
    """The file at `path` with some of its metadata replaced, and some of its arrays (`text_w1`; None: without it)."""
    with safe_open(path, framework="numpy") as file:
        metadata = json.loads(file.metadata()[METADATA_KEY])
    for place, value in changes.items():
        *way, last = place.split(".")
        part = metadata
        for step in way:
            part = part[step]
        part[last] = value
    kept = load_file(path) | {name.replace("_", "."): array for name, array in arrays.items()}
    found = {name: array for name, array in kept.items() if array is not None}
    save_file(found, path, {METADATA_KEY: json.dumps(metadata)})


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_is_named(tmp_path: Path, fake_zoo: Zoo, version: Any) -> None:
    rewrite(ship(tmp_path, fake_zoo), {"format": version})
    assert f"its format is {version!r}, this version reads format 1" in refused(tmp_path)


def test_metadata_that_name_no_format_are_refused(tmp_path: Path, fake_zoo: Zoo) -> None:
    path = ship(tmp_path, fake_zoo)
    arrays = load_file(path)
    for metadata in (None, {"other": "x"}, {METADATA_KEY: "{"}, {METADATA_KEY: "[]"}, {METADATA_KEY: "{}"}):
        save_file(arrays, path, metadata)
        assert "do not name a format of retrieval controllers" in refused(tmp_path)


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        ("about.seed", "seven", "'about.seed'"),
        ("about.committee", [{"name": "small"}], "'about.committee.0.image'"),
        ("about.committee", [], "'about.committee'"),
        ("about.sources", [], "'about.sources'"),
        ("about.sources", [{"name": "scenes"}], "'about.sources.0.fit_sha256'"),
        ("about.controllers.text.rung", "mean", "'about.controllers.text.rung'"),
        ("about.controllers.text.accuracy", 1.5, "'about.controllers.text.accuracy'"),
        ("about.controllers.image.loss", float("inf"), "'about.controllers.image.loss'"),
        ("about.cascade.text.standard_error", -0.1, "'about.cascade.text.standard_error'"),
        ("about.cascade.image.gflops_share", 1.5, "'about.cascade.image.gflops_share'"),
        ("about.cascade", {"text": {}}, "'about.cascade.text.lost'"),
        ("about.controllers", {}, "text and image queries"),
        ("thresholds", {"text": 0.5}, "text and image queries"),
        ("thresholds.text", -0.1, "'thresholds.text'"),
        ("thresholds.text", "0.5", "'thresholds.text'"),
        ("thresholds.sound", 0.5, "'thresholds.sound.[key]'"),
        ("widths", [12, 0], "'widths.1'"),
        ("widths", [12], "arrays are not those"),
        ("backbones", ["large", "tiny"], "other backbones than its committee"),
        ("backbones", ["large", "large"], "other backbones than its committee"),
        ("prefix", "small", "'prefix'"),
        ("prefix", [], "its prefix is not some of its committee"),
        ("prefix", ["tiny"], "its prefix is not some of its committee"),
        ("prefix", ["small", "small"], "its prefix is not some of its committee"),
        ("prefix", ["small", "large"], "its prefix is not some of its committee"),
    ],
)
def test_wrong_metadata_are_named_by_field(tmp_path: Path, fake_zoo: Zoo, place: str, value: Any, named: str) -> None:
    rewrite(ship(tmp_path, fake_zoo), {place: value})
    assert named in refused(tmp_path)


@pytest.mark.parametrize(
    "array",
    [
        None,
        np.zeros((4, 21), dtype=np.float32),
        np.zeros((4, 20), dtype=np.float64),
        np.full((4, 20), np.nan, dtype=np.float32),
    ],
    ids=["missing", "other shape", "other type", "not finite"],
)
def test_arrays_that_are_none_of_retrieval_controllers_are_refused(tmp_path: Path, fake_zoo: Zoo, array: Any) -> None:
    rewrite(ship(tmp_path, fake_zoo), {}, image_w1=array)
    assert "its arrays are not those of retrieval controllers" in refused(tmp_path)


def test_an_array_too_many_is_refused(tmp_path: Path, fake_zoo: Zoo) -> None:
    rewrite(ship(tmp_path, fake_zoo), {}, sound_w1=np.zeros(1, np.float32))
    assert "its arrays are not those of retrieval controllers" in refused(tmp_path)
