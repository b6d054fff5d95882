"""Documents are tests: what is committed equals what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.metrics_table import metrics_table
from tests.support.openapi import openapi_document
from tests.support.settings_table import settings_table

DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
DOCUMENTS += [ROOT / "loadtest/README.md", ROOT / "model_repository/README.md"]
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


def test_the_committed_openapi_document_is_the_applications(tmp_path: Path) -> None:
    committed = (ROOT / "docs/openapi.json").read_text(encoding="utf-8")
    assert openapi_document(tmp_path) == committed, "run `make openapi`"


def test_the_committed_table_of_settings_is_the_settings_own() -> None:
    committed = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    assert settings_table() == committed, "run `make settings`"


def test_the_committed_table_of_metrics_is_what_a_gateway_shows() -> None:
    committed = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    assert metrics_table() == committed, "run `make metrics`"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_to_a_file_leads_to_one(document: Path) -> None:
    for target in LINK.findall(document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs/decisions"
    index = (folder / "README.md").read_text(encoding="utf-8")
    pages = {path.name for path in folder.glob("0*.md")}
    assert pages == set(re.findall(r"\]\((0[^)]+)\)", index))
