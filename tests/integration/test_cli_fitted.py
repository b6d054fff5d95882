"""`quorum labels fitted` and its neighbours, and `quorum jobs`: what was fitted, and what is going on."""

from __future__ import annotations

import json

import pytest

from tests.integration.conftest import LABELS, Photos, Quorum
from tests.support.cli import plain


def test_versions_are_listed_gone_back_to_and_forgotten(quorum: Quorum, pets: str, photos: Photos) -> None:
    folder = photos(40)
    for epsilon in ("0.3", "0.4"):
        assert quorum("calibrate", pets, folder, "--epsilon", epsilon).exit_code == 0
    described = plain(quorum("labels", "show", pets).stdout)
    assert "cascade 2 active" in described
    assert "epsilon 0.4, delta 0.1" in described
    assert json.loads(quorum("labels", "show", pets, "--json").stdout)["cascade"]["version"] == 2
    assert quorum("labels", "activate", pets, "cascade", "1").stdout == "pets: cascade 1 is active.\n"
    shown = plain(quorum("labels", "fitted", pets, "cascade").stdout)
    assert "pets/1: cascade" in shown
    assert "at most 30% of answers" in shown
    versions = json.loads(quorum("labels", "fitted", pets, "cascade", "--json").stdout)
    assert [(each["version"], each["active"]) for each in versions["versions"]] == [(2, False), (1, True)]
    gone = quorum("labels", "activate", pets, "cascade", "9")
    assert "There is no version 9" in gone.stderr
    assert gone.exit_code == 1
    assert quorum("labels", "forget", pets, "cascade").stdout == "pets: the cascade is deleted.\n"
    missing = quorum("labels", "fitted", pets, "cascade")
    assert '"pets" has no cascade.' in missing.stderr
    assert "`quorum calibrate`" in missing.stderr
    assert missing.exit_code == 1


def test_jobs_are_listed_and_shown_again(quorum: Quorum, pets: str, photos: Photos) -> None:
    assert "There are no jobs." in quorum("jobs", "list").stdout
    folder = photos(3, *LABELS)
    first = json.loads(quorum("fit", pets, folder, "--json").stdout)["id"]
    second = json.loads(quorum("calibrate", pets, folder, "--json").stdout)["id"]
    rows = quorum("jobs", "list", "--label-set", pets).stdout.splitlines()[1:]
    assert [row.split()[:4] for row in rows] == [
        [second, "cascade", "pets", "succeeded"],
        [first, "controller", "pets", "succeeded"],
    ]
    assert "There are no jobs." in quorum("jobs", "list", "--label-set", "others").stdout
    assert plain(quorum("jobs", "show", first).stdout).startswith("Refused: nothing was activated")
    assert plain(quorum("jobs", "show", second, "--wait").stdout).startswith("pets/1: cascade under the plain mean")
    for arguments in (["show", second, "--json"], ["show", second, "--wait", "--json"]):
        assert json.loads(quorum("jobs", *arguments).stdout)["id"] == second
    late = quorum("jobs", "cancel", first)
    assert "succeeded before it could be cancelled" in late.stderr
    assert late.exit_code == 1


@pytest.mark.parametrize("arguments", [["show"], ["show", "--wait"], ["cancel"]], ids=" ".join)
def test_a_job_that_nobody_knows_is_said(quorum: Quorum, arguments: list[str]) -> None:
    result = quorum("jobs", arguments[0], "job_0", *arguments[1:])
    assert 'There is no job "job_0".' in result.stderr
    assert result.exit_code == 1
    assert quorum("jobs", arguments[0], "..").exit_code == 2
