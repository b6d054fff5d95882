"""checkov on the manifests of the defaults and of every values file: what it finds is explained, one by one."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections import defaultdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from tests.support.chart import CHART, ROOT, VALUES_FILES, helm, of_files, read_yaml

CHECKOV = ROOT / "var/checkov/bin/checkov"
CONFIG = CHART / "checkov.yaml"
PATIENCE_S = 240.0

Finding = tuple[str, str]
"""Id of the check, KIND/NAME of the resource."""


def explained() -> dict[str, list[str]]:
    """Patterns of resources by the id of the check that is skipped for them."""
    found: dict[str, list[str]] = {}
    patterns: list[str] = []
    _, _, skipped = CONFIG.read_text(encoding="utf-8").partition("skip-check:\n")
    for line in skipped.splitlines():
        if reason := re.fullmatch(r"  # (\S+/\S+): \S.{20,}\.", line):
            patterns.append(reason[1])
        elif check := re.fullmatch(r"  - (CKV\w+)", line):
            found[check[1]], patterns = patterns, []
        else:
            raise ValueError(f"{CONFIG.name}: neither a reason nor the id of a check: {line!r}")
    return found


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("manifests")
    for name in ("values.yaml", *VALUES_FILES):
        text = helm("template", "quorum", CHART, "--namespace", "quorum", *of_files((name,)))
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def checkov(*words: str | Path) -> dict[str, Any]:
    """Its report. Skips where it is not installed."""
    if not CHECKOV.is_file():
        pytest.skip("needs checkov, which `make checkov` installs")
    environment = os.environ | {"LOG_LEVEL": "ERROR", "BC_SKIP_MAPPING": "TRUE"}
    command = [str(CHECKOV), *map(str, words), "--output", "json", "--soft-fail"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.fixture(scope="module")
def findings(manifests: Path) -> set[Finding]:
    report = checkov("--framework", "kubernetes", "--skip-download", "--directory", manifests)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["resource_count"] > 50
    return {(each["check_id"], _resource(each["resource"])) for each in report["results"]["failed_checks"]}


def _resource(written: str) -> str:
    """Deployment.default.quorum-gateway (or with a container behind) → Deployment/quorum-gateway."""
    kind, _, name, *_ = written.split(".")
    return f"{kind}/{name}"


def test_every_finding_is_explained(findings: set[Finding]) -> None:
    reasons = explained()
    assert {
        (check, resource)
        for check, resource in findings
        if not any(fnmatchcase(resource, pattern) for pattern in reasons.get(check, []))
    } == set()


def test_every_explanation_is_still_needed(findings: set[Finding]) -> None:
    found = defaultdict(set)
    for check, resource in findings:
        found[check].add(resource)
    for check, patterns in explained().items():
        assert patterns, f"{check} has no reason"
        for pattern in patterns:
            assert any(fnmatchcase(each, pattern) for each in found[check]), f"{check}: nothing is found for {pattern}"


def test_the_file_is_what_checkov_takes(manifests: Path) -> None:
    assert set(read_yaml(CONFIG)["skip-check"]) == explained().keys()
    report = checkov("--config-file", CONFIG, "--directory", manifests)
    assert report["summary"]["failed"] == 0
    assert report["summary"]["passed"] > 500
