"""Who is alive is told by locks that no process outlives."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import ConfigurationError
from service.stores.sqlite.presence import Presence
from tests.conftest import ROOT
from tests.support.state import sqlite_state

STOP_LIMIT_S = 60.0
CLAIMANT = """
import sys
from pathlib import Path
from service.stores.sqlite.presence import Presence
presence = Presence(Path(sys.argv[1]))
presence.claim()
print(presence.owner, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_is_there_until_it_dies_however_it_dies(tmp_path: Path, sig: signal.Signals) -> None:
    command = [sys.executable, "-c", CLAIMANT, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        owner = process.stdout.readline().strip()
        watcher = Presence(tmp_path)
        watcher.claim()
        assert watcher.is_gone(owner) is False
        assert watcher.is_gone(owner) is False, "asking takes nothing away"
        process.send_signal(sig)
        process.wait(STOP_LIMIT_S)
    assert watcher.is_gone(owner) is True
    assert watcher.is_gone(owner) is True
    assert [path.name for path in tmp_path.iterdir()] == [watcher.owner], "nothing is left behind"
    watcher.release()
    assert list(tmp_path.iterdir()) == []


def test_two_in_one_process_see_each_other(tmp_path: Path) -> None:
    one, other = Presence(tmp_path), Presence(tmp_path)
    one.claim()
    other.claim()
    assert (one.is_gone(other.owner), other.is_gone(one.owner), one.is_gone(one.owner)) == (False, False, False)
    other.release()
    assert one.is_gone(other.owner)
    one.release()


def test_whoever_comes_removes_what_the_dead_left(tmp_path: Path) -> None:
    (tmp_path / "dead").touch()
    (tmp_path / "beginning.new").touch()
    presence = Presence(tmp_path)
    presence.claim()
    assert {path.name for path in tmp_path.iterdir()} == {presence.owner, "beginning.new"}
    presence.release()


def test_nobody_takes_himself_for_dead_when_his_mark_is_removed(tmp_path: Path) -> None:
    presence = Presence(tmp_path)
    presence.claim()
    (tmp_path / presence.owner).unlink()
    assert presence.is_gone(presence.owner) is False
    presence.release()


def test_releasing_what_was_not_claimed_is_nothing(tmp_path: Path) -> None:
    Presence(tmp_path).release()


async def test_a_folder_that_cannot_hold_locks_is_named(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "state.sqlite3-owners").write_text("a file in its place")
    with pytest.raises(ConfigurationError, match=r"QUORUM_STATE_URL: cannot open .*state\.sqlite3"):
        await sqlite_state(tmp_path).start()
