"""What the Ingress of values-production.yaml passes on: all that callers use, nothing that is the cluster's own."""

from __future__ import annotations

import json
import re

import httpx2

from service.settings import Settings
from tests.support.chart import CHART, ROOT, read_yaml, render
from tests.support.chart_cases import CASES
from tests.support.manifests import Release

INSIDE = {"/metrics", "/healthz", "/readyz"}
PAGE = (ROOT / "service/playground/index.html").read_text(encoding="utf-8")


def passes(path: str) -> bool:
    """As an Ingress matches: exactly, or by whole parts of a path."""
    (ingress,) = Release(render({}, "values-production.yaml")).of("Ingress")
    (rule,) = ingress["spec"]["rules"]
    for each in rule["http"]["paths"]:
        start: str = each["path"].rstrip("/")
        if path == each["path"] or (each["pathType"] == "Prefix" and path.startswith(start + "/")):
            return True
    return False


def test_the_api_passes_and_the_clusters_own_does_not() -> None:
    paths = json.loads((ROOT / "docs/openapi.json").read_text(encoding="utf-8"))["paths"]
    assert paths.keys() >= INSIDE
    assert {path for path in paths if not passes(path)} == INSIDE


def test_the_page_and_what_it_loads_pass() -> None:
    assert passes("/")
    for link in re.findall(r'(?:src|href)="([^"#]+)"', PAGE):
        assert passes(f"/{link}"), link


async def test_the_description_and_what_it_loads_pass(client: httpx2.AsyncClient) -> None:
    text = (await client.get("/docs")).text
    links = re.findall(r'(?:src|href|url)(?:=|: )["\'](/[^"\']+)', text)
    assert "/openapi.json" in links
    assert [link for link in links if not passes(link)] == []


def test_bodies_may_be_as_large_as_gateways_take() -> None:
    (ingress,) = Release(render({}, "values-production.yaml")).of("Ingress")
    written: str = ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"]
    assert int(written.removesuffix("m")) * 2**20 >= Settings.model_fields["max_job_body_bytes"].default


def test_tls_is_for_the_hosts_that_are_served() -> None:
    ingress = read_yaml(CHART / "values-production.yaml")["gateway"]["ingress"]
    covered = {name for each in ingress["tls"] for name in each["hosts"]}
    assert {each["host"] for each in ingress["hosts"]} == covered


def test_an_ingress_and_a_route_lead_to_the_gateways() -> None:
    release = CASES["ingress"].rendered()
    (ingress,), (route,) = release.of("Ingress"), release.of("HTTPRoute")
    (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
    (backend,) = route["spec"]["rules"][0]["backendRefs"]
    service = release.one("Service", path["backend"]["service"]["name"])
    assert backend["name"] == service["metadata"]["name"]
    assert [pod.component for pod in release.behind(service)] == ["gateway"]
    assert ingress["spec"]["ingressClassName"] == "nginx"
