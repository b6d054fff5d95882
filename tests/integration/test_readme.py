"""The README's commands are run as they stand, and its answer is compared with the real one."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import ROOT, free_port, wait_until_ready

README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands_in(text: str) -> list[str]:
    return [
        line
        for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        for line in block.replace("\\\n", "").splitlines()
        if line.strip() and not line.startswith("#")
    ]


def section(heading: str) -> str:
    """What stands under a heading of the second level, to the next one."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found is not None, f"the README has no section {heading}"
    return found[1]


COMMANDS = commands_in(README)
TEACHING = commands_in(section("Teach the committee"))
KEYS = commands_in(section("API keys"))
PLACE = "http://localhost:8000"
STAMP = ROOT / ".venv/.installed-serve"
RUN_LIMIT_S = 240
KEYS_LIMIT_S = 30  # they are looked at every second; the machine may be loaded
PROBABILITY_TOLERANCE = 0.02  # other processors round float32 sums differently


def is_run(command: str) -> bool:
    """Run as it stands against a server; the rest is checked by kind below."""
    return command.startswith(("curl ", ".venv/bin/quorum "))


@pytest.fixture(scope="module")
def served_by_make(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of what `make serve` serves."""
    if not STAMP.exists():
        pytest.skip("needs the .venv that make creates")
    with serving("make serve", tmp_path_factory.mktemp("make")) as url:
        yield url


@contextmanager
def serving(command: str, folder: Path) -> Iterator[str]:
    """Base URL of what `command` serves, with state of its own in `folder`."""
    port = free_port()
    environment = os.environ | {
        "QUORUM_PORT": str(port),
        "QUORUM_STATE_URL": str(folder / "state.sqlite3"),
        "QUORUM_GALLERIES_URL": str(folder / "galleries.db"),
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", command], cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(url, process, folder / "log")
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def run(command: str, url: str, **variables: str) -> str:
    environment = os.environ | {"QUORUM_CLIENT_URL": url} | variables
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command.replace(PLACE, url)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
        check=False,
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def test_the_first_command_is_make_serve() -> None:
    assert COMMANDS[0] == "make serve"


@pytest.mark.parametrize("command", [each for each in COMMANDS if is_run(each) and each not in TEACHING + KEYS])
def test_a_command_runs_as_it_stands(command: str, served_by_make: str) -> None:
    output = run(command, served_by_make)
    assert '"error"' not in output


@pytest.mark.timeout(900)
def test_the_committee_is_taught_by_the_commands_as_they_stand(served_by_make: str) -> None:
    """Structure alone: which fit is accepted, and what it gains, is the bundled zoo's matter."""
    name_set, fit, calibrate, classify = TEACHING
    run(name_set, served_by_make)
    assert re.match(r"Refused: |fashion/1: accepted\. ", run(fit, served_by_make))
    controller, accepted = fitted_in(served_by_make)
    assert run(calibrate, served_by_make).startswith("fashion/1: cascade under ")
    promised_in(served_by_make, controller)
    assert "with probability 0.9, at most 5% of answers differ" in flat(run(classify, served_by_make))
    answer = json.loads(run(f"{classify} --json", served_by_make))
    assert len(answer["results"]) == len(list((ROOT / "docs/examples/fashion/classify").glob("*.png")))
    for result in answer["results"]:
        assert result["policy"] == "cascade"
        assert result["promise"] == {"epsilon": 0.05, "delta": 0.1}
        assert not accepted or result["controller"] == controller


@pytest.mark.skipif(not STAMP.exists(), reason="needs the .venv that make creates")
def test_keys_are_made_used_and_removed_by_the_commands_as_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    new, serve, ask, models, show, remove = (command.replace("var/keys.toml", str(file)) for command in KEYS)
    key = run(new, "").strip()
    with serving(serve, tmp_path) as url:
        assert json.loads(run(ask, url, QUORUM_CLIENT_API_KEY=key))["data"]
        assert json.loads(run(ask, url, QUORUM_CLIENT_API_KEY="guess"))["error"]["code"] == "unauthorized"
        assert "resnet-l" in run(models, url, QUORUM_CLIENT_API_KEY=key)
        assert re.search(r"web +read +600", run(show, url))
        run(remove, url)
        until_s = time.monotonic() + KEYS_LIMIT_S
        while "error" not in json.loads(run(ask, url, QUORUM_CLIENT_API_KEY=key)):
            assert time.monotonic() < until_s, "a removed key still opens"


def fitted_in(url: str) -> tuple[str | None, bool]:
    """Whose weights answer from then on, and whether they are the fit's; what the job says of it is checked."""
    job = last_job(url, "controller")
    backbones = set(httpx2.get(f"{url}/v1/models/committee").json()["backbones"])
    result = job["result"]
    assert result["about"] == {
        "examples": 80,
        "classes": 10,
        "classes_with_examples": 10,
        "shots": [8, 8],
        "seed": 0,
    }
    assert {"mean", "mean_logit"} <= set(result["gain_over_unfitted"])
    assert set(result["gain_over_backbones"]) == backbones
    active = httpx2.get(f"{url}/v1/label-sets/fashion").json()["controller"]
    assert (active is not None) == result["accepted"]
    assert result["accepted"] or result["reasons"]
    return ("fashion/1", True) if result["accepted"] else (None, False)


def promised_in(url: str, controller: str | None) -> None:
    result = last_job(url, "cascade")["result"]
    assert (result["epsilon"], result["delta"], result["skipped"]) == (0.05, 0.1, [])
    assert (result["dropped_duplicates"], result["dropped_fitted"]) == (0, 0)
    assert result["tested"]["images"] > result["images_needed"] / 2
    assert result["tested"]["disagreements"] <= result["tested"]["disagreements_allowed"]
    assert result["tested"]["gflops"] <= result["gflops_full"] * (1 + 1e-9)
    if controller is not None:
        assert result["controller"] == controller
    active = httpx2.get(f"{url}/v1/label-sets/fashion").json()["cascade"]
    assert active == {"version": 1, "applies": True, "reason": None, "promise": {"epsilon": 0.05, "delta": 0.1}}


def last_job(url: str, kind: str) -> dict[str, Any]:
    jobs = httpx2.get(f"{url}/v1/jobs", params={"label_set": "fashion"}).json()["data"]
    job: dict[str, Any] = next(job for job in jobs if job["kind"] == kind)
    assert job["state"] == "succeeded", job["error"]
    return job


def flat(text: str) -> str:
    """Without the line breaks that the width of a terminal puts into sentences."""
    return " ".join(text.split())


def test_the_section_on_teaching_keeps_a_place_for_the_measured_table() -> None:
    assert re.search(
        r"^<!-- written by evaluate: committee -->\n(.*\n)*?<!-- end of committee -->$",
        section("Teach the committee"),
        re.M,
    )


def test_the_first_answer_is_the_real_one(served_by_make: str) -> None:
    command = next(command for command in COMMANDS if command.startswith("curl "))
    block = re.search(r"^```json\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert block is not None
    shown, real = json.loads(block[1]), json.loads(run(command, served_by_make))
    assert shown.keys() == real.keys()
    (shown_result,), (real_result,) = shown["results"], real["results"]
    assert shown_result.keys() == real_result.keys()
    assert shown_result["backbones"].keys() == real_result["backbones"].keys()
    for ours, theirs in zip(shown_result["predictions"], real_result["predictions"], strict=True):
        assert ours["label"] == theirs["label"]
        assert ours["probability"] == pytest.approx(theirs["probability"], abs=PROBABILITY_TOLERANCE)


@pytest.mark.parametrize("command", [command for command in COMMANDS if not is_run(command)])
def test_a_command_that_is_too_long_to_run_exists_with_its_options(command: str) -> None:
    words = [word for word in shlex.split(command) if "=" not in word or word.startswith("-")]
    if words[0] == "make":
        subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, check=True, capture_output=True, timeout=60)
        return
    if words[0] == "docker":  # not to be had where tests run: the files that it is given are there
        given = [file for option, file in pairwise(words) if option in ("--file", "-f")]
        assert all((ROOT / file).is_file() for file in given or ["compose.yaml"])
        return
    assert words[:2] == [".venv/bin/python", "-m"], f"no rule says how to check {command}"
    module, subcommand = words[2], words[3]
    if module == "training" and importlib.util.find_spec("torch") is None:
        pytest.skip("needs the training extra")
    # The interpreter of this test stands for the README's: in a container the tests may run from elsewhere.
    help_text = help_of(module, subcommand)
    for option in (word.partition("=")[0] for word in words[4:] if word.startswith("--")):
        assert option in help_text, f"{option} is no option of {module} {subcommand}"


def help_of(module: str, subcommand: str) -> str:
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    command = [sys.executable, "-m", module, subcommand, "--help"]
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_every_folder_of_the_map_exists() -> None:
    folders = re.findall(r"^\| \[([a-z_]+/)\]", README, re.MULTILINE)
    assert {"service/", "model_repository/", "training/", "loadtest/", "tests/", "docs/"} <= set(folders)
    assert all((ROOT / folder).is_dir() for folder in folders)


def test_paths_named_in_commands_exist() -> None:
    for path in re.findall(r"@?((?:service|docs)/[\w./-]*\w)", "\n".join(COMMANDS)):
        assert Path(ROOT / path).exists(), path
