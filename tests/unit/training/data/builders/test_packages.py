"""Fetching, verifying and unpacking packages."""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.training.data.builders.toy import npm_package
from training.data.builders.packages import Manager, Package, fetch, sha256_of, unpack
from training.data.rows import DataError

pytestmark = pytest.mark.torch

ABSENT = Package("npm", "no-such-toy", "1.0.0", "0" * 64)


def tool(folder: Path, name: str, script: str) -> None:
    """An executable that stands in for a package manager."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{script}\n")
    path.chmod(0o755)


def test_archives_are_named_as_the_package_managers_name_them() -> None:
    assert Package("apt", "clip", "1:0.18-1", "").file_name == "clip_1%3a0.18-1_all.deb"
    assert Package("npm", "@set/icons", "1.2.3", "").file_name == "set-icons-1.2.3.tgz"
    assert Package("pip", "some-data", "0.1", "").file_name == "some_data-0.1-py3-none-any.whl"


def test_a_wheel_for_one_system_is_asked_for_by_its_tag() -> None:
    package = Package("pip", "numbers", "1.0", "", wheel="cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64")
    command = package.command
    assert {"--python-version=311", "--abi=cp311", "--platform=manylinux_2_28_x86_64"} <= set(command)
    assert command[-1] == "numbers==1.0"


def test_a_package_that_lies_in_the_cache_is_unpacked_without_any_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = npm_package(tmp_path, "toy", {"a.json": [1, 2]})
    monkeypatch.setenv("PATH", "")
    folder = unpack(package, tmp_path)
    assert (folder / "package/a.json").read_text() == "[1, 2]"
    assert unpack(package, tmp_path) == folder


def test_a_wheel_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "wheel_data-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("wheel_data/table.csv", "1,2")
    folder = unpack(Package("pip", "wheel-data", "1.0", sha256_of(path)), tmp_path)
    assert (folder / "wheel_data/table.csv").read_text() == "1,2"


def test_an_archive_other_than_the_pinned_one_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    package = replace(npm_package(tmp_path, "toy", {"a.json": 1}), sha256="f" * 64)
    with pytest.raises(DataError, match=r"toy-1\.0\.0\.tgz: sha256 .* is not the pinned ffffffffffff; delete the file"):
        unpack(package, tmp_path)
    assert not (tmp_path / "unpacked").exists()


def test_a_tarball_cannot_write_outside_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "evil-1.0.0.tgz"
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("../../escaped")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(tarfile.OutsideDestinationError):
        unpack(Package("npm", "evil", "1.0.0", sha256_of(path)), tmp_path)
    assert not list(tmp_path.rglob("escaped"))
    assert not [path for path in (tmp_path / "unpacked").iterdir() if path.is_dir()]


@pytest.mark.parametrize(("manager", "program"), [("npm", "npm"), ("apt", "apt-get")])
def test_a_missing_package_manager_is_named_with_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manager: Manager, program: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    package = replace(ABSENT, manager=manager)
    with pytest.raises(DataError, match=rf"{program} is not installed, .* put {package.file_name} into"):
        fetch(package, tmp_path / "cache")


def test_a_download_that_fails_says_why_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool(tmp_path / "bin", "npm", "import sys; sys.exit('npm error network unreachable')")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(DataError, match=r"network unreachable\): connect to the network, or put no-such-toy-1\.0\.0"):
        fetch(ABSENT, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_download_of_something_else_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool(tmp_path / "bin", "npm", "open('other-2.0.0.tgz', 'w').close()")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(DataError, match=r"saved other-2\.0\.0\.tgz, not no-such-toy-1\.0\.0\.tgz"):
        fetch(ABSENT, tmp_path / "cache")


def test_a_download_is_kept_for_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = npm_package(tmp_path / "shelf", "toy", {"a.json": 1})
    copy = f"import shutil; shutil.copy({str(tmp_path / 'shelf' / package.file_name)!r}, '.')"
    tool(tmp_path / "bin", "npm", copy)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    archive = fetch(package, tmp_path / "cache")
    (tmp_path / "bin/npm").unlink()
    assert fetch(package, tmp_path / "cache") == archive
