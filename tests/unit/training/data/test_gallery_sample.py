"""The playground's sample gallery: which rows it takes, and what is committed."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.conftest import ROOT
from tests.unit.training.tiny_data import Item, write_source
from training.cli import app
from training.data.gallery_sample import (
    FIELDS,
    GALLERY,
    MOST_BYTES,
    GallerySource,
    attribution,
    choose,
    listing,
    sources,
)
from training.data.rows import DataError, Row
from training.data.splits import Split

pytestmark = pytest.mark.torch

BUNDLED = ROOT / "service/playground/gallery"
PERMISSIVE = {"MIT", "CC0-1.0", "Apache-2.0", "public domain"}
PETS = GallerySource(
    "pets", "Pets", "photograph", "CC0-1.0", "Everybody.", "None.", {"Cat": "cat", "Dog": "big dog"}, 2
)


@pytest.fixture(scope="module")
def bundled() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((BUNDLED / "gallery.json").read_text(encoding="utf-8"))
    return content


def made_up(count: int, source: str = "pets") -> Iterator[tuple[Row, Split]]:
    for number in range(count):
        image = f"picture {number}".encode()
        split = Split.TEST if number % 3 == 0 else Split.TOWER_TRAIN
        label = ("Cat", "Dog", "Cow")[number // 3 % 3]
        yield Row(image, hashlib.sha256(image).hexdigest(), (), label, source, test=split is Split.TEST), split


def test_every_label_has_its_share_of_test_rows_whatever_their_order() -> None:
    rows = list(made_up(90))
    splits = {row.digest: split for row, split in rows}
    chosen = choose(rows, [PETS])
    assert Counter(each.label for each in chosen) == {"cat": 2, "big dog": 2}
    assert {splits[each.row.digest] for each in chosen} == {Split.TEST}
    assert choose(reversed(rows), [PETS]) == chosen


def test_a_row_of_another_source_or_that_is_there_twice_counts_for_nothing() -> None:
    with pytest.raises(DataError, match='pets: 0 test pictures of "Cat", 2 are needed'):
        choose(made_up(90, source="farm"), [PETS])
    once = [(row, split) for row, split in made_up(90) if row.label == "Dog"][:1]
    with pytest.raises(DataError, match='pets: 1 test pictures of "Dog", 2 are needed'):
        choose(once * 2, [replace(PETS, labels={"Dog": "dog"})])


def test_the_list_and_the_attribution_name_every_picture() -> None:
    chosen = choose(made_up(90), [PETS])
    listed = json.loads(listing(chosen))
    assert (listed["name"], listed["fields"]) == (GALLERY, FIELDS)
    assert {(item["id"], item["sha256"]) for item in listed["items"]} == {
        (each.file, each.row.digest) for each in chosen
    }
    assert all(item["id"].startswith(("cat-", "big-dog-")) for item in listed["items"])
    text = attribution([replace(PETS, notice="All\n\nrights")], [replace(each, source=PETS) for each in chosen])
    assert "Licence: CC0-1.0. Everybody. None." in text
    assert "> All\n>\n> rights" in text


def test_committed_files_are_those_of_the_list_and_small(bundled: dict[str, Any]) -> None:
    files = {path.name: path.stat().st_size for path in BUNDLED.iterdir()}
    assert set(files) == {item["id"] for item in bundled["items"]} | {"gallery.json", "ATTRIBUTION.md"}
    assert len(bundled["items"]) == sum(len(source.labels) * source.each for source in sources())
    assert sum(files.values()) < MOST_BYTES


def test_committed_pictures_are_the_very_bytes_that_the_list_names(bundled: dict[str, Any]) -> None:
    for item in bundled["items"]:
        content = (BUNDLED / item["id"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == item["sha256"], item["id"]
        with Image.open(io.BytesIO(content)) as picture:
            assert picture.format == "WEBP"
            assert 64 <= max(picture.size) <= 160, item["id"]


def test_committed_pictures_are_balanced_and_of_permissive_licences_alone(bundled: dict[str, Any]) -> None:
    assert bundled["fields"] == FIELDS
    by_title = {source.title: source for source in sources()}
    counts: Counter[tuple[str, str]] = Counter()
    for item in bundled["items"]:
        values = item["fields"]
        source = by_title[values["source"]]
        assert (values["licence"], values["kind"]) == (source.licence, source.kind)
        assert values["licence"] in PERMISSIVE
        counts[values["source"], values["label"]] += 1
    expected = {(source.title, label): source.each for source in sources() for label in source.labels.values()}
    assert counts == expected


def test_committed_attribution_names_every_source_its_licence_and_its_files(bundled: dict[str, Any]) -> None:
    text = (BUNDLED / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for source in sources():
        assert f"## {source.title}\n\nLicence: {source.licence}. {source.attribution} {source.changes}" in text
        if source.licence == "MIT":
            assert "> The above copyright notice and this permission notice shall be included" in text
    for item in bundled["items"]:
        assert text.count(f"`{item['id']}`") == 1


def test_the_command_leaves_a_folder_with_something_in_it_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for source in sources():
        write_source(tmp_path, source.name, [Item(1, label="Banana")])
    arguments = ["gallery-sample", "--data", str(tmp_path), "--out"]
    result = CliRunner().invoke(app, [*arguments, str(tmp_path / "mine")])
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "there is something already" in result.stderr
    few = CliRunner().invoke(app, [*arguments, str(tmp_path / "new")])
    assert (few.exit_code, (tmp_path / "new").exists()) == (1, False)
    assert 'grocery_store: 0 test pictures of "Asparagus", 4 are needed' in few.stderr
