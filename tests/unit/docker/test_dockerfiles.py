"""Dockerfiles: clean, pinned, and without what a container should not have."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.compose import DOCKERFILES, ROOT, base_images, is_pinned, tool
from tests.support.triton import WHEEL, server_options

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHON_IMAGE = re.compile(r"^ARG PYTHON_IMAGE=(\S+)$", re.MULTILINE)
SERVERS = [path for path in DOCKERFILES if path.name != "training.Dockerfile"]


def name_of(path: Path) -> str:
    return path.name


def requirements(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "docker/requirements.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_there_is_one_for_every_image() -> None:
    assert [path.name.partition(".")[0] for path in DOCKERFILES] == ["gateway", "training", "triton-cpu", "triton"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=name_of)
def test_the_linter_finds_nothing(path: Path) -> None:
    result = tool("hadolint", "--failure-threshold", "style", path)
    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.parametrize("path", DOCKERFILES, ids=name_of)
def test_base_images_are_pinned_by_a_version(path: Path) -> None:
    images = base_images(path.read_text(encoding="utf-8"))
    assert images
    assert [image for image in images if not is_pinned(image)] == []


def test_all_python_images_have_one_base() -> None:
    found = [PYTHON_IMAGE.findall(path.read_text(encoding="utf-8")) for path in DOCKERFILES]
    assert len({each for images in found for each in images}) == 1
    assert [len(images) for images in found] == [1, 1, 1, 0]


@pytest.mark.parametrize("path", DOCKERFILES, ids=name_of)
def test_the_last_stage_ends_with_a_user_by_number(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    (user,) = re.findall(r"^USER (\S+)$", text, re.MULTILINE)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert text.index("USER ") > text.rindex("\nFROM ")


@pytest.mark.parametrize("path", SERVERS, ids=name_of)
def test_a_server_says_how_it_is_started_and_whether_it_is_well(path: Path) -> None:
    last = path.read_text(encoding="utf-8").rpartition("\nFROM ")[2]
    assert re.search(r"^(ENTRYPOINT|CMD) \[", last, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK .*\\\n +CMD \[", last, re.MULTILINE)
    assert not re.search(r"^(ENTRYPOINT|CMD) [^\[]", last, re.MULTILINE)


def test_only_named_things_reach_a_build() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in ignored if line and not line.startswith("#")]
    assert rules[0] == "*"
    admitted = {rule[1:] for rule in rules if rule.startswith("!")}
    assert all((ROOT / name).exists() for name in admitted)
    copied = {
        source
        for path in DOCKERFILES
        for line in re.findall(r"^COPY (?!--from)(.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        for source in shlex.split(line)[:-1]
    }
    assert [each for each in copied if not any(each == name or each.startswith(f"{name}/") for name in admitted)] == []


def test_the_flags_of_nvidias_server_are_flags_of_that_version() -> None:
    """The wheel carries the server of the same release, so its list of options is the image's."""
    if not (WHEEL / "pytriton/tritonserver/bin/tritonserver").is_file():
        pytest.skip("needs the Triton server that `make triton-server` installs")
    text = (ROOT / "docker/triton.Dockerfile").read_text(encoding="utf-8")
    given = set(re.findall(r'"(--[a-z-]+)=?', text.rpartition("\nCMD ")[2]))
    assert "--model-repository" in given
    assert given - server_options() == set()


def test_requirements_are_the_dependencies_and_those_of_the_extras() -> None:
    alone = requirements("--extras", "").stdout.splitlines()
    assert alone == PROJECT["dependencies"]
    extras = PROJECT["optional-dependencies"]
    assert requirements("--extras", "cpu,lite").stdout.splitlines() == [*alone, *extras["cpu"], *extras["lite"]]


def test_requirements_of_single_packages_are_found_wherever_they_stand() -> None:
    found = requirements("--packages", "numpy,onnxruntime,uvicorn").stdout.splitlines()
    assert [re.split(r"[\[>=]", line)[0] for line in found] == ["numpy", "onnxruntime", "uvicorn"]
    assert set(found) <= {*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["cpu"]}


@pytest.mark.parametrize(("option", "name"), [("--extras", "extra cpux"), ("--packages", "package numpyx")])
def test_an_unknown_name_is_one_sentence(option: str, name: str) -> None:
    result = requirements(option, name.split()[1])
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"pyproject.toml: names no {name}\n"
