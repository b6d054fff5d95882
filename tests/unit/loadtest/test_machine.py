"""What a result says about its origin, and what it must not say."""

from __future__ import annotations

import platform

from loadtest.machine import machine, slug, versions, without_folders


def test_machine_is_described_without_naming_a_host() -> None:
    facts = machine()
    assert facts["cores"] >= 1
    assert facts["memory_gib"] > 0
    assert platform.node() not in str(facts).split()


def test_versions_name_what_a_figure_depends_on() -> None:
    assert {"python", "numpy", "pillow"} <= set(versions())


def test_slug_is_fit_for_a_file_name() -> None:
    facts = {"cpu": "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "cores": 8}
    found = slug(facts, {"python": "3.11.7", "onnxruntime": "1.31.1"})
    assert found == "ort1.31.1-py3.11-intel-xeon-platinum-8481c-8-cores"


def test_a_command_line_keeps_no_folders() -> None:
    command = without_folders(["python", "-m", "loadtest", "--repository", "/somewhere/here/zoo", "all"])
    assert command == "python -m loadtest --repository zoo all"
