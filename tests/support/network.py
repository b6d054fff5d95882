"""Who may connect to whom, as Kubernetes reads a release's network policies.

A connection takes leave on both ends: of the policies that select the caller (egress) and of those that select the
callee (ingress). A pod that no policy of a direction selects may do anything in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from tests.support.manifests import Manifest, Pod, Release, selects

Edge = tuple[str, str, str]
"""Caller, callee, port: `("gateway", "redis-state", "redis")`."""


@dataclass(frozen=True)
class Party:
    """A pod of the release, another pod of the cluster, or (without labels) an address outside of it."""

    name: str
    labels: Mapping[str, str] | None = None
    namespace: str = ""
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    ports: Mapping[str, int] = field(default_factory=dict)
    protocol: str = "TCP"


DNS = Party(
    "dns",
    {"k8s-app": "kube-dns"},
    "kube-system",
    {"kubernetes.io/metadata.name": "kube-system"},
    "10.96.0.10",
    {"dns": 53},
    protocol="UDP",
)
PROMETHEUS = Party(
    "prometheus",
    {"app.kubernetes.io/name": "prometheus"},
    "monitoring",
    {"kubernetes.io/metadata.name": "monitoring"},
    "10.244.3.3",
)
INTERNET = Party(
    "internet",
    address="198.51.100.7",
    ports={"https": 443, "redis": 6379, "other-redis": 6380, "milvus": 19530, "otlp": 4318},
)


def outsiders(namespace: str) -> tuple[Party, ...]:
    """Who else there is, a pod of the same namespace that is none of the release's among them."""
    labels = {"kubernetes.io/metadata.name": namespace}
    neighbour = Party("neighbour", {"of": "another"}, namespace, labels, "10.244.1.9", {"any": 9000})
    return DNS, PROMETHEUS, neighbour, INTERNET


def party_of(pod: Pod, release: Release) -> Party:
    """Its component, and its pool where it has one, is its name."""
    pool = pod.labels.get("quorum/pool")
    name = pod.component if pool is None else f"{pod.component}-{pool}"
    labels = {"kubernetes.io/metadata.name": release.namespace}
    return Party(name, pod.labels, release.namespace, labels, "10.244.1.5", pod.ports)


def edges(release: Release) -> set[Edge]:
    """Every connection that the policies let through and that begins or ends in the release."""
    policies = release.of("NetworkPolicy")
    inside = [party_of(pod, release) for pod in release.pods]
    outside = outsiders(release.namespace)
    found: set[Edge] = set()
    for caller in (*inside, *outside):
        for callee in (*inside, *outside):
            if (caller in outside and callee in outside) or caller is callee:
                continue
            found |= {
                (caller.name, callee.name, port)
                for port in callee.ports
                if _passes(policies, caller, callee, port, release.namespace)
            }
    return found


def _passes(policies: list[Manifest], caller: Party, callee: Party, port: str, namespace: str) -> bool:
    leaves = _allowed(policies, "Egress", caller, callee, callee, port, namespace)
    return leaves and _allowed(policies, "Ingress", callee, caller, callee, port, namespace)


def _allowed(
    policies: list[Manifest], direction: str, pod: Party, other: Party, callee: Party, port: str, namespace: str
) -> bool:
    """Whether the policies of `namespace` that select `pod` let it talk in this direction with `other`."""
    if pod.namespace != namespace or pod.labels is None:
        return True
    selecting = [
        each["spec"]
        for each in policies
        if direction in _directions(each["spec"]) and selects(each["spec"].get("podSelector", {}), pod.labels)
    ]
    if not selecting:
        return True
    key = "from" if direction == "Ingress" else "to"
    rules: Iterator[Mapping[str, Any]] = (rule for spec in selecting for rule in spec.get(direction.lower()) or [])
    return any(
        _is_peer(rule.get(key), other, namespace) and _is_port(rule.get("ports"), callee, port) for rule in rules
    )


def _directions(spec: Mapping[str, Any]) -> list[str]:
    return list(spec.get("policyTypes") or ["Ingress", *(["Egress"] if "egress" in spec else [])])


def _is_port(ports: list[Mapping[str, Any]] | None, callee: Party, name: str) -> bool:
    if not ports:
        return True
    number = callee.ports[name]
    for each in ports:
        if each.get("protocol", "TCP") != callee.protocol:
            continue
        wanted = each.get("port")
        if isinstance(wanted, str) and wanted == name and callee.labels is not None:
            return True
        if wanted is None or (not isinstance(wanted, str) and wanted <= number <= each.get("endPort", wanted)):
            return True
    return False


def _is_peer(peers: list[Mapping[str, Any]] | None, other: Party, namespace: str) -> bool:
    if not peers:
        return True
    return any(_is_one(peer, other, namespace) for peer in peers)


def _is_one(peer: Mapping[str, Any], other: Party, namespace: str) -> bool:
    if block := peer.get("ipBlock"):
        address = ip_address(other.address)
        inside = address in ip_network(block["cidr"])
        return inside and not any(address in ip_network(each) for each in block.get("except") or [])
    if other.labels is None:
        return False
    spaces = peer.get("namespaceSelector")
    near = other.namespace == namespace if spaces is None else selects(spaces, other.namespace_labels)
    return near and selects(peer.get("podSelector", {}), other.labels)
