"""Building and checking as a whole, on toy sources made from a toy package."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.training.data.builders.toy import CIRCLE, npm_package, picture, source
from training.data.builders import catalogue, check, run
from training.data.builders.command import build_command, check_command
from training.data.builders.concepts import held_out
from training.data.builders.iconify import IconSet
from training.data.builders.manifest import MANIFEST
from training.data.builders.pictures import Dropped, Folders, Picture, Source
from training.data.builders.render import drawing
from training.data.builders.write import read_pictures, write_source
from training.data.rows import DataError

pytestmark = pytest.mark.torch

COLOURS = ("#e11", "#1a1", "#22e", "#aa1", "#1aa", "#a1a")


def icon_source(cache: Path) -> Source:
    """A real reader over a real package: coloured circles, one of them twice under two names."""
    icons = {f"circle-{i}": {"body": CIRCLE.format(colour)} for i, colour in enumerate((*COLOURS, COLOURS[0]))}
    package = npm_package(cache, "toy-icons", {"icons.json": {"icons": icons, "width": 16, "height": 16}})

    def read(folders: Folders, dropped: Dropped) -> Iterator[Picture]:
        icon_set = IconSet.read(folders["toy-icons"] / "package")
        for name in icon_set.icons:
            if name == "circle-1":
                dropped["no liking for it"] += 1
            else:
                yield Picture(drawing(icon_set.svg(name)), (name,), None, held_out(name, 0.5), name, concept=name)

    return Source("icons", (package,), "MIT", "nobody", read, "toys")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue of three sources of one pool and one alone; the folder of their package."""
    sources = {
        one.name: one
        for one in (
            icon_source(tmp_path / "packages"),
            source("a", picture(1), picture(2), picture(3, test=True)),
            source("b", picture(1, test=True, speck=True), picture(4), picture(5)),
            source("alone", picture(6), picture(6, test=True, speck=True), pool=None),
        )
    }
    for module in (catalogue, run, check):
        monkeypatch.setattr(module, "SOURCES", sources)
    return tmp_path / "packages"


def manifest(folder: Path) -> dict[str, dict[str, object]]:
    sources: dict[str, dict[str, object]] = json.loads((folder / MANIFEST).read_text())["sources"]
    return sources


def test_the_same_packages_give_the_same_files(packages: Path, tmp_path: Path) -> None:
    for out in ("one", "two"):
        run.build(tmp_path / out, packages=packages)
    names = ["a.parquet", "alone.parquet", "b.parquet", "icons.parquet", MANIFEST]
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == names
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_a_source_built_alone_is_what_it_is_beside_the_others(packages: Path, tmp_path: Path) -> None:
    run.build(tmp_path / "all", packages=packages)
    assert run.build(tmp_path / "one", ["a"], packages) == {"a": (1, 1)}
    assert [path.name for path in sorted((tmp_path / "one").iterdir())] == ["a.parquet", MANIFEST]
    assert (tmp_path / "one/a.parquet").read_bytes() == (tmp_path / "all/a.parquet").read_bytes()
    assert manifest(tmp_path / "one")["a"] == manifest(tmp_path / "all")["a"]


def test_the_manifest_says_where_rows_come_from_and_what_is_missing(packages: Path, tmp_path: Path) -> None:
    run.build(tmp_path, packages=packages)
    entries = manifest(tmp_path)
    icons = entries["icons"]
    assert icons["dropped"] == {"equal to an earlier picture": 1, "no liking for it": 1}
    (package,) = json.loads(json.dumps(icons["packages"]))
    assert package["manager"] == "npm"
    assert package["version"] == "1.0.0"
    assert len(package["sha256"]) == 64
    assert icons["licence"] == "MIT"
    assert entries["a"]["rows"] == {"train": 1, "test": 1}
    assert entries["a"]["dropped"] == {"near copy of a held-out picture of b": 1}


def test_a_second_build_keeps_the_entries_of_the_first(packages: Path, tmp_path: Path) -> None:
    run.build(tmp_path, ["alone"], packages)
    run.build(tmp_path, ["a"], packages)
    assert list(manifest(tmp_path)) == ["a", "alone"]


def test_a_damaged_manifest_is_named(packages: Path, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text("{}")
    with pytest.raises(DataError, match=r"manifest\.json: not a manifest"):
        run.build(tmp_path, ["alone"], packages)


def test_the_command_names_files_and_rows(packages: Path, tmp_path: Path) -> None:
    assert build_command(tmp_path, ["a"], packages) == f"{tmp_path}/a.parquet: 1 train, 1 test rows"


def test_packages_lie_beside_what_is_built_unless_told_otherwise(packages: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    packages.rename(tmp_path / "out/packages")
    run.build(tmp_path / "out", ["icons"])
    assert (tmp_path / "out/packages/unpacked").is_dir()


def test_what_was_built_passes_the_check(packages: Path, tmp_path: Path) -> None:
    run.build(tmp_path, packages=packages)
    assert check.check(tmp_path) == []
    assert "no picture, near copy or held-out concept" in check_command(tmp_path)


def test_a_folder_without_anything_built_is_refused(packages: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no manifest\.json"):
        check_command(packages)
    assert not (packages / MANIFEST).exists()
    assert tmp_path.is_dir()


def rewrite(folder: Path, name: str, pictures: list[Picture]) -> None:
    """Replace a built file by other pictures, in file and manifest."""
    write_source(folder / f"{name}.parquet", source(name), pictures)
    document = json.loads((folder / MANIFEST).read_text())
    from training.data.builders.packages import sha256_of

    document["sources"][name]["sha256"] = sha256_of(folder / f"{name}.parquet")
    (folder / MANIFEST).write_text(json.dumps(document))


def test_the_check_finds_a_file_that_was_changed(packages: Path, tmp_path: Path) -> None:
    run.build(tmp_path, packages=packages)
    write_source(tmp_path / "a.parquet", source("a"), [picture(9)])
    assert check.check(tmp_path) == ["a.parquet is missing or not the file that manifest.json names"]
    (tmp_path / "a.parquet").unlink()
    assert check.check(tmp_path) == ["a.parquet is missing or not the file that manifest.json names"]


def test_the_check_finds_equal_pictures_near_copies_and_shared_concepts(packages: Path, tmp_path: Path) -> None:
    run.build(tmp_path, packages=packages)
    rewrite(tmp_path, "a", [picture(4, test=True, concept="x"), picture(1, concept="x"), picture(2)])
    equal, near, concept = check.check(tmp_path)
    assert equal.startswith("equal picture in a train and a test row: b and a (")
    assert "a 1.png and b 1.png" in near
    assert "b 4.png and a 4.png" in near
    assert concept == "held-out concept in a train row: a: x"
    with pytest.raises(DataError, match="near copy of a held-out picture"):
        check_command(tmp_path)


def test_the_check_compares_with_files_that_were_not_built_here(packages: Path, tmp_path: Path) -> None:
    run.build(tmp_path, packages=packages)
    (test_row,) = (one for one in read_pictures(tmp_path / "a.parquet") if one.test)
    shown = Picture(test_row.image, ("a photo",), None, False, "photo")
    write_source(tmp_path / "photographs.parquet", source("photographs"), [shown])
    (problem,) = check.check(tmp_path)
    assert problem.startswith("equal picture in a train and a test row: photographs and a")
