"""Writing into a model repository that is there already."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from training.export.errors import ExportError
from training.export.repository import STAGING, replace_folders

pytestmark = pytest.mark.torch

OLD = {"a_image": {"config.pbtxt": b"old", "1/model.onnx": b"old"}, "a_text": {"config.pbtxt": b"old"}}
NEW = {"a_image": {"config.pbtxt": b"new", "1/model.onnx": b"new"}, "a_text": {"config.pbtxt": b"new"}}
LIMIT_BYTES = 4096


def contents(repository: Path) -> dict[str, bytes]:
    return {str(path.relative_to(repository)): path.read_bytes() for path in repository.rglob("*") if path.is_file()}


@contextmanager
def no_file_larger_than(limit: int) -> Iterator[None]:
    """What a full disk does, from the operating system itself: `write` fails half-way."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_folders_are_replaced_as_a_whole_and_others_left_alone(tmp_path: Path) -> None:
    replace_folders(tmp_path, OLD | {"b_image": {"config.pbtxt": b"b"}})
    (tmp_path / "a_image/1/leftover").write_bytes(b"of an older version")
    replace_folders(tmp_path, NEW)
    assert contents(tmp_path) == {
        "a_image/config.pbtxt": b"new",
        "a_image/1/model.onnx": b"new",
        "a_text/config.pbtxt": b"new",
        "b_image/config.pbtxt": b"b",
    }


def test_a_full_disk_is_one_sentence_and_leaves_what_was_there(tmp_path: Path) -> None:
    replace_folders(tmp_path, OLD)
    large = {"a_image": {"1/model.onnx": b"x" * (2 * LIMIT_BYTES)}, "a_text": {"config.pbtxt": b"new"}}
    with no_file_larger_than(LIMIT_BYTES), pytest.raises(ExportError, match=r"model\.onnx: cannot be written"):
        replace_folders(tmp_path, large)
    assert contents(tmp_path) == {f"{name}/{path}": b"old" for name, files in OLD.items() for path in files}
    assert not (tmp_path / STAGING).exists()


def test_a_rename_that_fails_half_way_puts_everything_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_folders(tmp_path, OLD)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.parts[-2:] == ("new", "a_text"):
            raise OSError(5, "Input/output error", str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(ExportError, match="Input/output error"):
        replace_folders(tmp_path, NEW)
    assert set(contents(tmp_path).values()) == {b"old"}


def test_a_backbone_that_was_not_there_before_is_not_left_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name == "a_text":
            raise OSError(5, "Input/output error", str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(ExportError, match="Input/output error"):
        replace_folders(tmp_path, NEW)
    assert contents(tmp_path) == {}


def test_what_a_killed_export_left_behind_goes_with_the_next_one(tmp_path: Path) -> None:
    leftover = tmp_path / STAGING / "a_image" / "new" / "a_image"
    leftover.mkdir(parents=True)
    (leftover / "model.onnx").write_bytes(b"half")
    replace_folders(tmp_path, NEW)
    assert set(contents(tmp_path).values()) == {b"new"}
    assert not (tmp_path / STAGING).exists()


def test_a_file_in_the_place_of_the_repository_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "repository").write_text("not a folder")
    with pytest.raises(ExportError, match=r"repository.*: cannot be written"):
        replace_folders(tmp_path / "repository", NEW)
