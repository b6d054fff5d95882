"""What manifests name must be there: in the release itself, or in the values, whoever gave them brings it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.support.manifests import Manifest, Pod, Release, selects, strings, title

SOURCES = {"configMap": "ConfigMap", "secret": "Secret", "persistentVolumeClaim": "PersistentVolumeClaim"}
NAMES = {"configMap": "name", "secret": "secretName", "persistentVolumeClaim": "claimName"}


def references_exist(release: Release) -> Iterator[str]:
    given = set(strings(release.values))
    for pod in release.pods:
        for kind, name, key in _of_a_pod(pod):
            if release.has(kind, name):
                content = release.one(kind, name)
                if key is not None and key not in (content.get("data") or {}).keys() | (
                    content.get("stringData") or {}
                ):
                    yield f"{pod.name} reads {key} of {kind}/{name}, which has no such key"
            elif name not in given:
                yield f"{pod.name} names {kind}/{name}, which is neither in the release nor in the values"
    for pod in release.pods:
        yield from _mounts(pod)
    yield from _backends(release)


def _of_a_pod(pod: Pod) -> Iterator[tuple[str, str, str | None]]:
    """(kind, name, key or None) of everything that must be there before the pod starts."""
    if "serviceAccountName" in pod.spec and pod.spec["serviceAccountName"] != "default":
        yield "ServiceAccount", pod.spec["serviceAccountName"], None
    for each in pod.spec.get("imagePullSecrets", []):
        yield "Secret", each["name"], None
    for volume in pod.spec.get("volumes", []):
        yield from _of_a_volume(volume)
    for container in pod.all_containers:
        yield from _of_a_container(container)


def _of_a_container(container: Manifest) -> Iterator[tuple[str, str, str | None]]:
    for source in container.get("envFrom", []):
        for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            if key in source:
                yield kind, source[key]["name"], None
    for variable in container.get("env", []):
        found = variable.get("valueFrom", {})
        for key, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
            if key in found:
                yield kind, found[key]["name"], found[key]["key"]


def _of_a_volume(volume: Manifest) -> Iterator[tuple[str, str, str | None]]:
    parts = [volume, *volume.get("projected", {}).get("sources", [])]
    for part in parts:
        for source, kind in SOURCES.items():
            if source not in part:
                continue
            name = part[source].get(NAMES[source]) or part[source]["name"]
            keys: list[str | None] = [item["key"] for item in part[source].get("items", [])]
            for key in keys or [None]:
                yield kind, name, key


def _mounts(pod: Pod) -> Iterator[str]:
    """Every mount has its volume, every volume its mount, and no two mounts one path."""
    volumes = {each["name"] for each in pod.spec.get("volumes", [])}
    volumes |= {each["metadata"]["name"] for each in pod.owner["spec"].get("volumeClaimTemplates", [])}
    mounted: set[str] = set()
    for container in pod.all_containers:
        paths = [each["mountPath"] for each in container.get("volumeMounts", [])]
        if len(paths) != len(set(paths)):
            yield f"{pod.name}: {container['name']} has two mounts at one path"
        mounted |= {each["name"] for each in container.get("volumeMounts", [])}
    for name in sorted(mounted - volumes):
        yield f"{pod.name} mounts {name}, which is none of its volumes"
    for name in sorted(volumes - mounted):
        yield f"{pod.name} has the volume {name}, which nothing mounts"


def _backends(release: Release) -> Iterator[str]:
    for ingress in release.of("Ingress"):
        for rule in ingress["spec"].get("rules", []):
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                yield from _service_port(release, title(ingress), service["name"], service["port"])
    for route in release.of("HTTPRoute"):
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                yield from _service_port(release, title(route), backend["name"], {"number": backend["port"]})
    for monitor in release.of("ServiceMonitor"):
        matched = [
            each
            for each in release.of("Service")
            if selects(monitor["spec"]["selector"], each["metadata"].get("labels", {}))
        ]
        ports = {port.get("name") for each in matched for port in each["spec"]["ports"]}
        yield from _endpoints(monitor, monitor["spec"]["endpoints"], ports)
    for monitor in release.of("PodMonitor"):
        ports = {port for pod in release.selected(monitor["spec"]["selector"]) for port in pod.ports}
        yield from _endpoints(monitor, monitor["spec"]["podMetricsEndpoints"], ports)


def _service_port(release: Release, who: str, name: str, port: dict[str, Any]) -> Iterator[str]:
    if not release.has("Service", name):
        yield f"{who} leads to Service/{name}, which is not there"
        return
    offered = release.one("Service", name)["spec"]["ports"]
    if port.get("name", port.get("number")) not in {each.get("name") for each in offered} | {
        each["port"] for each in offered
    }:
        yield f"{who} leads to the port {port} of Service/{name}, which is not there"


def _endpoints(monitor: Manifest, endpoints: list[Manifest], ports: set[Any]) -> Iterator[str]:
    if not ports:
        yield f"{title(monitor)} finds nothing"
    for each in endpoints:
        if ports and each["port"] not in ports:
            yield f"{title(monitor)} scrapes the port {each['port']}, which nothing has"
