"""Every manifest against Kubernetes' schemas: of the oldest version that the chart takes, a middle one, the newest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache

import kubernetes_validate
import pytest
from kubernetes_validate import utils

from tests.support.chart import CHART, read_yaml, refusal_on, render
from tests.support.chart_cases import CASES
from tests.support.manifests import Manifest, Release, title

VERSIONS = ("1.27", "1.33", "1.37")
KINDS_OF_OTHERS = {
    "ServiceMonitor": "the Prometheus operator brings its definition",
    "PodMonitor": "the Prometheus operator brings its definition",
    "PrometheusRule": "the Prometheus operator brings its definition",
    "ScaledObject": "KEDA brings its definition",
    "HTTPRoute": "the Gateway API brings its definition",
}
"""Kinds that Kubernetes itself has no schema of, so that they are left out here."""


@pytest.fixture(scope="module", autouse=True)
def schemas_are_read_once() -> Iterator[None]:
    """The package reads a megabyte of definitions for each manifest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", cache(utils.schema_contents))
        yield


@cache
def problem(manifest: str, version: str) -> str | None:
    """What the schema of this version says against it."""
    try:
        kubernetes_validate.validate(json.loads(manifest), version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{'.'.join(map(str, error.path))}: {error.message}"
    return None


def problems(manifests: list[Manifest], version: str) -> list[str]:
    found = [(each, problem(json.dumps(each, sort_keys=True), version)) for each in manifests]
    return [f"{title(each)}: {words}" for each, words in found if words is not None]


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_manifest(release: Release, version: str) -> None:
    assert problems([each for each in release.manifests if each["kind"] not in KINDS_OF_OTHERS], version) == []


def test_what_is_left_out_has_no_schema_and_is_rendered_somewhere() -> None:
    rendered = {each["kind"]: each for case in CASES.values() for each in case.rendered().manifests}
    for kind in KINDS_OF_OTHERS:
        with pytest.raises(kubernetes_validate.SchemaNotFoundError):
            kubernetes_validate.validate(rendered[kind], VERSIONS[-1], strict=True)


def test_the_versions_are_the_oldest_that_the_chart_takes_and_the_newest_that_is_known() -> None:
    oldest: str = read_yaml(CHART / "Chart.yaml")["kubeVersion"]
    assert oldest == f">={VERSIONS[0]}.0-0"
    assert kubernetes_validate.latest_version().startswith(VERSIONS[-1])


def test_an_older_kubernetes_is_refused() -> None:
    assert "1.26.9" in refusal_on("1.26.9")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_manifest_that_is_wrong_is_noticed(version: str) -> None:
    (deployment, *_) = (each for each in render({}) if each["kind"] == "Deployment")
    deployment["spec"]["replica"] = 2
    assert "replica" in problems([deployment], version)[0]


def test_a_boolean_where_there_is_to_be_text_is_noticed() -> None:
    wrong = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": False}}
    assert problems([wrong], VERSIONS[-1])
