"""What comes with the chart to be read: versions, README, the words after an installation, alerts and the dashboard."""

from __future__ import annotations

import json
import re
import shlex
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import pytest

from service.settings import Settings
from tests.support import chart_readme
from tests.support.chart import CHART, ROOT, VALUES_FILES, helm, notes, read_yaml, render
from tests.support.chart_cases import CASES
from tests.support.manifests import Release, strings

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = CHART / "README.md"


def test_chart_and_project_are_released_together() -> None:
    about = read_yaml(CHART / "Chart.yaml")
    assert about["version"] == about["appVersion"] == PROJECT["version"]
    assert about["apiVersion"] == "v2"


def test_own_images_are_of_the_projects_version(release: Release) -> None:
    images = [each["image"] for pod in release.pods for each in pod.all_containers if "quorum-" in each["image"]]
    assert images
    assert all(each.endswith(f":{PROJECT['version']}") or "@sha256:" in each for each in images)


def test_the_readme_is_current() -> None:
    assert README.read_text(encoding="utf-8") == chart_readme.readme()


def test_every_value_has_its_row() -> None:
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    found = list(chart_readme.rows(text, read_yaml(CHART / "values.yaml")))
    assert len(found) == text.count(chart_readme.MARK)
    assert all(row.words[0].isupper() and row.words.endswith(".") for row in found)
    assert all(f"| `{row.name}` |" in README.read_text(encoding="utf-8") for row in found)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# -- One.\n# -- Two.\na: 1\n", "two comments"),
        ("# -- One.\n\n- a\n", "there is no value below 'One.'"),
    ],
)
def test_a_comment_without_its_value_is_noticed(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        list(chart_readme.rows(text, {"a": 1}))


def test_a_value_without_a_comment_is_noticed() -> None:
    values: dict[str, Any] = {"a": 1, "b": {"c": {}, "d": {"e": 2}}, "f": {"g": 3}}
    assert list(chart_readme.documented(values, {"a", "f"})) == ["b.c", "b.d.e"]


def test_names_in_the_readme_are_files_and_values() -> None:
    text = README.read_text(encoding="utf-8")
    for path in re.findall(r"(?:helm|docs|docker)/[-\w./]+\.(?:md|yaml|yml|Dockerfile)\b", text):
        assert (ROOT / path).is_file(), path
    values = read_yaml(CHART / "values.yaml")
    for name in re.findall(r"`([a-z]\w+(?:\.\w+)+)`", text):
        if name.partition(".")[0] in values:
            assert _is_value(values, name.split(".")), name


def _is_value(values: Any, way: list[str]) -> bool:
    for each in way:
        if not isinstance(values, dict) or each not in values:
            return False
        values = values[each]
    return True


@pytest.mark.parametrize(
    "files", [(), *((name,) for name in VALUES_FILES)], ids=lambda files: files[0] if files else ""
)
def test_the_words_after_an_installation_begin_with_a_request(files: tuple[str, ...]) -> None:
    said = notes({}, *files)
    commands = [line.strip() for line in said.splitlines() if line.strip().startswith(("curl ", "kubectl ", "helm "))]
    (request,) = (shlex.split(each) for each in commands if each.startswith("curl "))
    forward = next(each for each in commands if "port-forward" in each)
    assert "http://localhost:8000/v1/classify" in request
    assert re.search(r"service/quorum-gateway 8000:\d+", forward)
    (picture,) = (each.partition("@")[2] for each in request if each.startswith("images=@"))
    assert (ROOT / picture).is_file()
    assert json.loads(next(each for each in request if each.startswith("request=")).partition("=")[2])["labels"]
    assert ("Authorization" in said) is ("production" in "".join(files))


@pytest.mark.parametrize(
    "files", [(), *((name,) for name in VALUES_FILES)], ids=lambda files: files[0] if files else ""
)
def test_every_image_that_nodes_must_have_is_named_and_its_building_told(files: tuple[str, ...]) -> None:
    said, text = notes({}, *files), README.read_text(encoding="utf-8")
    values = {} if "production" not in "".join(files) else {"image": {"registry": ""}}
    pods = Release(render(values, *files)).pods
    images = {each["image"] for pod in pods for each in pod.all_containers if each["image"].startswith("quorum-")}
    assert images
    for image in images:
        assert (f"{image} already" in said or f"{image} and" in said) or "production" in "".join(files)
        assert f"| `{image.partition(':')[0]}` |" in text


def test_the_commands_for_kind_build_and_load_what_the_defaults_run() -> None:
    text = README.read_text(encoding="utf-8")
    pods = Release(render()).pods
    for image in {each["image"] for pod in pods for each in pod.all_containers if each["image"].startswith("quorum-")}:
        assert f" --tag {image} ." in text
        assert image in text.partition("kind load docker-image ")[2].splitlines()[0].split()


def test_the_extras_in_the_readme_are_those_of_the_image() -> None:
    dockerfile = (ROOT / "docker/gateway.Dockerfile").read_text(encoding="utf-8")
    (extras,) = re.findall(r"^ARG (EXTRAS=\S+)$", dockerfile, re.MULTILINE)
    assert f"`{extras}`" in README.read_text(encoding="utf-8")
    (delay,) = re.findall(r"QUORUM_DRAIN_DELAY_S=(\d+)", dockerfile)
    (config,) = Release(render()).of("ConfigMap")
    assert config["data"]["QUORUM_DRAIN_DELAY_S"] == delay


def test_what_is_forwarded_is_the_services_port() -> None:
    assert "8000:9000" in notes({"gateway": {"service": {"port": 9000}}})


def test_settings_named_in_values_files_are_settings() -> None:
    for name in ("values.yaml", *VALUES_FILES):
        settings = read_yaml(CHART / name).get("gateway", {}).get("settings", {})
        assert {each.lower() for each in settings} <= Settings.model_fields.keys()


def test_no_password_is_written_down() -> None:
    for name in ("values.yaml", *VALUES_FILES):
        for value in strings(read_yaml(CHART / name)):
            assert not re.search(r"://[^/]*:[^/]*@", value)


def test_no_secret_is_made(release: Release) -> None:
    """They are named, never held: what is in values is in Helm's records, and in the shell's."""
    assert release.of("Secret") == []


def test_words_of_alerts_and_the_dashboard_are_handed_on_as_they_are() -> None:
    release = CASES["monitored"].rendered()
    (rule,) = release.of("PrometheusRule")
    written = [each for group in read_yaml(CHART / "files/alerts.yml")["groups"] for each in group["rules"]]
    handed = [each for group in rule["spec"]["groups"] for each in group["rules"]]
    kept = ("alert", "record", "for", "annotations")
    assert [[each.get(key) for key in kept] for each in handed] == [[each.get(key) for key in kept] for each in written]
    held = [each["data"] for each in release.of("ConfigMap") if each["metadata"]["labels"].get("grafana_dashboard")]
    (text,) = (text for data in held for text in data.values())
    assert json.loads(text) == json.loads((CHART / "files/dashboard.json").read_text(encoding="utf-8"))


def test_the_package_holds_what_helm_needs_and_no_more(tmp_path: Path) -> None:
    helm("package", CHART, "--destination", tmp_path)
    (archive,) = tmp_path.iterdir()
    with tarfile.open(archive) as package:
        names = {name.partition("/")[2] for name in package.getnames()}
    assert {"Chart.yaml", "values.yaml", "values.schema.json", "README.md", "files/alerts.yml"} <= names
    assert not [name for name in names if name.startswith("docs/") or name == "checkov.yaml"]
