"""helm and kubectl as tests find them, and the oldest Helm that the chart is for."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support import chart
from tests.support.chart import CHART, OLDEST, TOOLS, ChartError, helm, parsed, program, render, template, unpacked
from tests.support.chart_cases import CASES
from tests.support.manifests import title


def archive(folder: Path, content: bytes = b"#!/bin/sh\necho here\n") -> Path:
    """A package of the kind that carries them."""
    layer = io.BytesIO()
    with zipfile.ZipFile(layer, "w") as contents:
        contents.writestr("helm/helm", content)
    path = folder / "layer@1.0.0.jsii.tgz"
    with tarfile.open(path, "w:gz") as package:
        member = tarfile.TarInfo("package/lib/layer.zip")
        member.size = len(layer.getvalue())
        package.addfile(member, io.BytesIO(layer.getvalue()))
    return path


def test_a_program_is_unpacked_once_and_can_be_run(tmp_path: Path) -> None:
    place = unpacked(archive(tmp_path), "helm", tmp_path / "tools")
    assert place.stat().st_mode & 0o111
    written = place.stat().st_mtime_ns
    assert unpacked(tmp_path / "layer@1.0.0.jsii.tgz", "helm", tmp_path / "tools") == place
    assert place.stat().st_mtime_ns == written
    assert [each.name for each in place.parent.iterdir()] == ["helm"]


def test_another_package_is_unpacked_beside_it(tmp_path: Path) -> None:
    first = unpacked(archive(tmp_path), "helm", tmp_path / "tools")
    archive(tmp_path, b"newer").rename(tmp_path / "layer@2.0.0.jsii.tgz")
    second = unpacked(tmp_path / "layer@2.0.0.jsii.tgz", "helm", tmp_path / "tools")
    assert first != second
    assert second.read_bytes() == b"newer"


def test_the_environment_may_name_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELM", "/opt/helm")
    assert program("helm") == Path("/opt/helm")
    assert program("kubectl") != Path("/opt/helm")


def test_without_the_package_a_test_is_skipped_and_the_remedy_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(chart, "TOOLS", tmp_path)
    monkeypatch.delenv("HELM", raising=False)
    with pytest.raises(pytest.skip.Exception, match="make helm-tools"):
        program("helm")


def test_helms_words_are_passed_on() -> None:
    with pytest.raises(ChartError, match="unknown flag: --nonsense"):
        helm("template", "--nonsense")


def test_nobodys_cluster_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rendering is the same on a machine where Helm is set up, and touches nothing there."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "mine"))
    monkeypatch.setenv("HELM_NAMESPACE", "elsewhere")
    (account,) = (each for each in render({"nameOverride": "fresh"}) if each["kind"] == "ServiceAccount")
    assert "elsewhere" not in json.dumps(account)


def test_the_readme_names_the_oldest_helm_that_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELM", str(program("helm", OLDEST)))
    version = helm("version", "--short").removeprefix("v").rpartition(".")[0]
    assert f"Helm {version} or newer" in (CHART / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CASES)
def test_the_oldest_helm_renders_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    newest = {title(each): each for each in case.rendered().manifests}
    monkeypatch.setenv("HELM", str(program("helm", OLDEST)))
    text = template(json.dumps(case.values), case.files, case.release, case.namespace)
    assert {title(each): each for each in parsed(text)} == newest


def test_what_is_unpacked_is_kept_with_what_make_clean_removes() -> None:
    assert program("helm").is_relative_to(TOOLS)
    assert TOOLS.parent.name == "var"
