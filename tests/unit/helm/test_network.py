"""Who may connect to whom, computed from the rendered policies: what is needed passes, and nothing else."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.chart import render
from tests.support.chart_cases import CASES
from tests.support.manifests import Release
from tests.support.network import Edge, edges

ANYONE = ("dns", "prometheus", "neighbour", "internet")
AS_INSTALLED: set[Edge] = {
    ("gateway", "triton-all", "grpc"),
    ("gateway", "redis-state", "redis"),
    ("gateway", "redis-cache", "redis"),
    ("gateway", "dns", "dns"),
    ("test", "gateway", "http"),
    ("test", "dns", "dns"),
    *((each, "gateway", "http") for each in ANYONE),
}
OF_REDIS: set[Edge] = {("gateway", "redis-state", "redis"), ("gateway", "redis-cache", "redis")}
OF_TRITON: set[Edge] = {("gateway", "triton-all", "grpc")}
IN_THE_CLUSTER = ("dns", "prometheus", "neighbour")
FROM_THE_INGRESS = {
    "networkPolicy": {
        "ingressFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}],
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
    }
}


@pytest.mark.parametrize(
    ("case", "more", "fewer"),
    [
        ("defaults", set(), set()),
        ("onnx", set(), OF_TRITON),
        ("onnx-gateways-alone", set(), OF_TRITON | OF_REDIS),
        ("three-pools", {("gateway", f"triton-{each}", "grpc") for each in ("cheap", "dear", "gpu")}, OF_TRITON),
        ("monitored", {(each, "triton-all", "metrics") for each in IN_THE_CLUSTER}, set()),
        (
            "pools-by-keda",
            {("gateway", "triton-gpu", "grpc")}
            | {(each, pool, "metrics") for each in IN_THE_CLUSTER for pool in ("triton-all", "triton-gpu")},
            set(),
        ),
        (
            "redis-elsewhere",
            {("gateway", "internet", "redis"), ("gateway", "internet", "other-redis")},
            OF_REDIS,
        ),
        ("redis-by-secret", {("gateway", "internet", "redis")}, OF_REDIS),
        ("keys-and-galleries", {("gateway", "internet", "milvus"), ("gateway", "internet", "otlp")}, set()),
    ],
)
def test_what_is_needed_passes_and_nothing_else(case: str, more: set[Edge], fewer: set[Edge]) -> None:
    found = {edge for edge in edges(CASES[case].rendered()) if "triton" not in edge[0] or "triton" not in edge[1]}
    assert found == (AS_INSTALLED | more) - fewer


def test_callers_and_readers_of_metrics_can_be_named() -> None:
    found = edges(Release(render(FROM_THE_INGRESS)))
    assert {edge for edge in found if edge[0] in ANYONE} == {
        ("prometheus", "gateway", "http"),
        ("prometheus", "triton-all", "metrics"),
    }
    assert ("test", "gateway", "http") in found


def test_every_address_that_a_gateway_is_given_may_be_reached(release: Release) -> None:
    found = edges(release)
    for pod in release.of_component("gateway"):
        for value in release.environment(pod.containers[0]).values():
            for host, number in re.findall(r"(?:^|[/@,])([a-z][-a-z0-9.]*):(\d+)", value):
                service = host.partition(".")[0]
                if release.has("Service", service):
                    for callee in release.behind(release.one("Service", service)):
                        assert ("gateway", _name(callee), _port_name(callee.ports, int(number))) in found


def _name(pod: Any) -> str:
    return "-".join(filter(None, (pod.component, pod.labels.get("quorum/pool"))))


def _port_name(ports: dict[str, int], number: int) -> str:
    (name,) = (name for name, each in ports.items() if each == number)
    return name


def test_what_keeps_state_and_runs_towers_calls_nobody(release: Release) -> None:
    if not release.of("NetworkPolicy"):
        assert not release.values["values"]["networkPolicy"]["enabled"]
        return
    assert {caller for caller, _, _ in edges(release)} <= {"gateway", "test", *ANYONE}


def test_a_policy_is_for_pods_of_the_release_alone(release: Release) -> None:
    for policy in release.of("NetworkPolicy"):
        wanted = policy["spec"]["podSelector"]["matchLabels"]
        assert wanted["app.kubernetes.io/instance"] == release.name
        assert policy["spec"]["policyTypes"]


def test_two_releases_in_one_namespace_keep_apart() -> None:
    both = Release([*render({}, release="first"), *render({}, release="second")])
    owners = {pod.owner["metadata"]["name"]: pod.labels["app.kubernetes.io/instance"] for pod in both.pods}
    assert len(owners) == 2 * len(Release(render({}, release="first")).pods)
    for service in both.of("Service"):
        assert len(both.behind(service)) == 1
    for policy in both.of("NetworkPolicy"):
        selected = both.selected(policy["spec"]["podSelector"])
        assert len({pod.labels["app.kubernetes.io/instance"] for pod in selected}) == 1
