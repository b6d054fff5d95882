"""`quorum keys`: made, listed, removed; the file is whole at every moment, and a key is shown once."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from service.keys import SCOPES, digest_of, find_key
from service.keys_file import read_keys
from tests.conftest import ROOT
from tests.integration.conftest import Quorum
from tests.support.cli import said
from tests.support.keys import api_key, keys_file

KEY = re.compile(r"quorum_[A-Za-z0-9_-]{43}")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "keys.toml"


def mode_of(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_a_new_key_is_printed_once_and_the_file_knows_its_digest_alone(quorum: Quorum, file: Path) -> None:
    options = ("--scope", "read", "--scope", "write", "--requests-per-minute", "600", "--expires", "2100-01-01")
    made = quorum("keys", "new", "web", *options, "--images-per-minute", "60", "--file", file)
    assert made.exit_code == 0, made.output
    key = made.stdout.strip()
    assert KEY.fullmatch(key), "a script may read it from standard output"
    assert key not in made.stderr + file.read_text()
    (entry,) = read_keys(file)
    assert find_key([entry], key) is entry
    assert (entry.name, set(entry.scopes)) == ("web", {"read", "write"})
    assert (entry.requests_per_minute, entry.images_per_minute) == (600, 60)
    assert f"{entry.expires:%Y-%m-%d %H:%M %Z}" == "2100-01-01 00:00 UTC"
    assert mode_of(file) == 0o600


def test_without_more_words_a_key_may_read(quorum: Quorum, file: Path) -> None:
    quorum("keys", "new", "web", "--file", file)
    assert [key.scopes for key in read_keys(file)] == [{"read"}]


def test_the_file_may_be_named_by_the_servers_own_variable(quorum: Quorum, file: Path) -> None:
    quorum("keys", "new", "web", QUORUM_API_KEYS_FILE=str(file))
    assert "web" in quorum("keys", "list", QUORUM_API_KEYS_FILE=str(file)).stdout


def test_without_a_file_the_entry_is_printed(quorum: Quorum, tmp_path: Path) -> None:
    made = quorum("keys", "new", "web", "--scope", "admin")
    key, _, entry = made.stdout.partition("\n")
    (tmp_path / "keys.toml").write_text(entry)
    (read,) = read_keys(tmp_path / "keys.toml")
    assert (read.name, read.digest, set(read.scopes)) == ("web", digest_of(key), {"admin"})


def test_a_used_name_is_refused_and_the_file_stays(quorum: Quorum, file: Path) -> None:
    quorum("keys", "new", "web", "--file", file)
    before = file.read_bytes()
    refused = quorum("keys", "new", "web", "--file", file)
    assert refused.exit_code == 1
    assert 'has a key "web" already' in refused.stderr
    assert refused.stdout == ""
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a b",), "letters, digits"),
        (("quorum_x",), "as keys do"),
        (("x", "--scope", "root"), "read, write, admin"),
        (("x", "--requests-per-minute", "0"), "greater than or equal to 1"),
        (("x", "--expires", "2020-01-01"), "that is over"),
        (("x", "--expires", "soon"), "soon"),
    ],
)
def test_wrong_words_are_status_2_and_make_no_file(
    quorum: Quorum, file: Path, arguments: tuple[str, ...], words: str
) -> None:
    refused = quorum("keys", "new", *arguments, "--file", file)
    assert refused.exit_code == 2
    assert words in said(refused)
    assert not file.exists()


def test_a_listing_shows_limits_and_no_digest(quorum: Quorum, tmp_path: Path) -> None:
    entry = api_key("k", "read", name="web", requests_per_minute=1200)
    file = keys_file(tmp_path, entry, api_key("b", name="boss"))
    shown = quorum("keys", "list", "--file", file).stdout
    assert re.search(r"web +read +1,200 +no limit +never", shown)
    assert re.search(r"boss +admin +no limit +no limit +never", shown)
    assert entry.digest.hex()[:16] not in shown


@pytest.mark.parametrize("command", [("list",), ("remove", "web"), ("new", "other")])
def test_a_broken_file_is_one_sentence_and_stays(quorum: Quorum, tmp_path: Path, command: tuple[str, ...]) -> None:
    file = tmp_path / "keys.toml"
    file.write_text('[[key]]\nname = "web"\n')
    refused = quorum("keys", *command, "--file", file)
    assert refused.exit_code == 1
    assert "keys.toml, line 1 ([[key]] number 1): sha256" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert file.read_text() == '[[key]]\nname = "web"\n'


@pytest.mark.parametrize("command", [("list",), ("remove", "web")])
def test_what_is_not_there_is_one_sentence(quorum: Quorum, file: Path, command: tuple[str, ...]) -> None:
    refused = quorum("keys", *command, "--file", file)
    assert refused.exit_code == 1
    assert "No such file" in refused.stderr
    assert not file.parent.exists()
    assert quorum("keys", *command).exit_code == 2


COMMENTED = """# Keys of the shop. Ask Ada.

# the website
{web}
# the night job
#   may write
{night}
{boss}"""


@pytest.mark.parametrize("name", ["web", "night", "boss"])
def test_a_removed_key_takes_its_comment_along_and_leaves_the_others(quorum: Quorum, tmp_path: Path, name: str) -> None:
    file = keys_file(tmp_path, "web", "night", "boss")
    entries = file.read_text().split("\n[[key]]")
    web, night, boss = entries[0], f"[[key]]{entries[1]}", f"[[key]]{entries[2]}"
    file.write_text(COMMENTED.format(web=web, night=night, boss=boss))
    removed = quorum("keys", "remove", name, "--file", file)
    assert removed.stdout == f"{name}: removed, 2 keys are left.\n"
    assert [key.name for key in read_keys(file)] == [each for each in ("web", "night", "boss") if each != name]
    text = file.read_text()
    assert "Ask Ada" in text
    assert ("the website" in text) == (name != "web")
    assert ("may write" in text) == (name != "night")


def test_keys_written_in_another_form_of_toml_are_removed_as_well(quorum: Quorum, tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    rows = [
        f'{{name = "{name}", sha256 = "{digest_of(name).hex()}", scopes = ["read"]}}'
        for name in ("one", "two", "three")
    ]
    file.write_text(f"key = [{', '.join(rows)}]\n")
    assert quorum("keys", "remove", "two", "--file", file).exit_code == 0
    assert [key.name for key in read_keys(file)] == ["one", "three"]


def test_the_last_key_can_be_removed(quorum: Quorum, tmp_path: Path) -> None:
    file = keys_file(tmp_path, "last")
    assert "Nobody is let in" in quorum("keys", "remove", "last", "--file", file).stdout
    assert read_keys(file) == ()
    assert "nobody is let in" in quorum("keys", "list", "--file", file).stdout


def test_a_name_that_is_not_there_is_not_removed(quorum: Quorum, tmp_path: Path) -> None:
    file = keys_file(tmp_path, "one")
    assert 'has no key "two"' in quorum("keys", "remove", "two", "--file", file).stderr
    assert len(read_keys(file)) == 1


def test_a_link_stays_a_link_and_the_mode_stays_as_it_was(quorum: Quorum, tmp_path: Path) -> None:
    real = keys_file(tmp_path, "one")
    real.chmod(0o640)
    link = tmp_path / "link.toml"
    link.symlink_to(real.name)
    assert quorum("keys", "new", "two", "--file", link).exit_code == 0
    assert link.is_symlink()
    assert [key.name for key in read_keys(real)] == ["one", "two"]
    assert mode_of(real) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir() if "keys" in path.name) == ["keys.toml"]


def test_of_many_at_once_none_is_lost(file: Path) -> None:
    names = [f"key-{number}" for number in range(4)]
    commands = [[sys.executable, "-m", "service.cli", "keys", "new", name, "--file", str(file)] for name in names]
    running = [subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE) for command in commands]
    printed = {process.communicate(timeout=120)[0].decode().strip() for process in running}
    keys = read_keys(file)
    assert sorted(key.name for key in keys) == names
    assert {key.digest for key in keys} == {digest_of(each) for each in printed}


def test_work_in_this_process_needs_no_key(quorum: Quorum, tmp_path: Path) -> None:
    locked = keys_file(tmp_path, "one")
    assert quorum("models", QUORUM_API_KEYS_FILE=str(locked)).exit_code == 0
    assert quorum("models", QUORUM_API_KEYS_FILE=str(tmp_path / "none.toml")).exit_code == 0


def test_help_names_every_scope(quorum: Quorum) -> None:
    help_text = quorum("keys", "new", "--help", COLUMNS="200").stdout
    assert all(scope in help_text for scope in SCOPES)
