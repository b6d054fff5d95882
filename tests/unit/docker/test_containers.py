"""Where images cannot be built, one clause says why: CI puts it into a sentence."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.support import containers


def test_without_root_there_are_no_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert containers.impossible_because() == "it takes root"


def test_a_program_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "crun" else f"/usr/bin/{name}")
    assert containers.impossible_because() == "these programs are not installed: crun"


def test_a_machine_that_refuses_is_quoted_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> str:
        raise RuntimeError("unshare ended with 1: unshare failed:\n  Operation not permitted\n")

    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(containers, "run", refused)
    assert containers.impossible_because() == "unshare ended with 1: unshare failed: Operation not permitted"


def test_a_command_that_fails_shows_its_last_words() -> None:
    with pytest.raises(RuntimeError, match=r"ls ended with 2: .*no/such/file"):
        containers.run("ls", "no/such/file")
