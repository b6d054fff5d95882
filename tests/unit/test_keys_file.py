"""A keys file that changes while a gateway runs."""

from __future__ import annotations

import errno
import logging
import os
import time
from pathlib import Path

import pytest

from service.errors import ConfigurationError
from service.keys_file import LOOK_EVERY_S, MAX_BYTES, KeysFile
from tests.support.keys import keys_file


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Watched:
    """A keys file under a clock of the test's own; `current` is what the metrics were told."""

    def __init__(self, path: Path) -> None:
        self.current: list[bool] = []
        self._clock = Clock()
        self._file = KeysFile(path, self.current.append, clock=self._clock)

    def names(self, after_s: float = LOOK_EVERY_S) -> list[str]:
        self._clock.now_s += after_s
        return [key.name for key in self._file.keys]


def test_a_change_is_seen_at_the_next_look_and_not_before(tmp_path: Path) -> None:
    watched = Watched(keys_file(tmp_path, "old"))
    keys_file(tmp_path, "new", "second")
    assert watched.names(after_s=LOOK_EVERY_S / 2) == ["old"]
    assert watched.names(after_s=LOOK_EVERY_S / 2) == ["new", "second"]
    assert watched.current == [True, True]


def test_a_file_that_is_the_same_is_not_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched(keys_file(tmp_path, "one"))
    with caplog.at_level(logging.INFO, "service.keys_file"):
        for _ in range(5):
            assert watched.names() == ["one"]
    assert not caplog.records
    assert watched.current == [True]


def test_a_change_in_place_is_seen(tmp_path: Path) -> None:
    path = keys_file(tmp_path, "one")
    watched = Watched(path)
    text = path.read_text()
    path.write_text(text.replace('"one"', '"two"'))
    os.utime(path, ns=(1, 1))  # the clock of the file system may be too coarse for two writes in a test
    assert watched.names() == ["two"]


def test_a_swapped_link_is_followed_as_kubernetes_swaps_it(tmp_path: Path) -> None:
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        keys_file(tmp_path / version, f"version-{version}")
    (tmp_path / "..data").symlink_to("1")
    (tmp_path / "keys.toml").symlink_to("..data/keys.toml")
    watched = Watched(tmp_path / "keys.toml")
    assert watched.names() == ["version-1"]
    (tmp_path / "..data_tmp").symlink_to("2")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    assert watched.names() == ["version-2"]


@pytest.mark.parametrize("damage", ["[[key]]\nname = ", "\udcff", None])
def test_a_broken_file_keeps_the_keys_and_says_so_once(
    tmp_path: Path, damage: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = keys_file(tmp_path, "old")
    watched = Watched(path)
    path.unlink()
    if damage is not None:
        path.write_bytes(damage.encode(errors="surrogateescape"))
    with caplog.at_level(logging.INFO, "service.keys_file"):
        for _ in range(3):
            assert watched.names() == ["old"]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert str(path) in record.getMessage()
    assert watched.current == [True, False]
    keys_file(tmp_path, "mended")
    assert watched.names() == ["mended"]
    assert watched.current == [True, False, True]


def test_a_change_is_seen_though_the_time_of_change_was_set_back(tmp_path: Path) -> None:
    path = keys_file(tmp_path, "one")
    times = path.stat()
    watched = Watched(path)
    time.sleep(0.05)  # longer than a tick of the file system's clock
    path.write_text(path.read_text().replace('"one"', '"two"'))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert watched.names() == ["two"]


def test_what_could_not_be_read_is_read_later_though_it_did_not_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that has used up its file descriptors must not keep a removed key for ever."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    watched = Watched(keys_file(tmp_path, "removed"))
    keys_file(tmp_path, "new")
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR, "service.keys_file"):
        patch.setattr(Path, "open", refuse)
        assert [watched.names() for _ in range(3)] == [["removed"]] * 3
    assert len(caplog.records) == 1, "said once, tried again each time"
    assert watched.names() == ["new"]
    assert watched.current == [True, False, False, False, True]


def test_the_last_key_that_is_removed_is_refused_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched(keys_file(tmp_path, "last"))
    keys_file(tmp_path)
    with caplog.at_level(logging.WARNING, "service.keys_file"):
        assert watched.names() == []
    assert "nobody is let in" in caplog.text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, r"cannot be read: No such file"),
        (b"\xff", "not text in UTF-8"),
        (b"# " * MAX_BYTES, "larger than"),
        (b"[[key]]\n", r"line 1 \(\[\[key\]\] number 1\): name "),
    ],
)
def test_a_first_version_has_to_be_right(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "keys.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=words):
        KeysFile(path, lambda _: None)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        KeysFile(tmp_path, lambda _: None)
