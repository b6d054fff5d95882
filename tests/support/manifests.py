"""Rendered manifests as things that refer to each other: workloads with their pods, services, and what these name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

Manifest = dict[str, Any]

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "Pod")
SCALED = ("Deployment", "StatefulSet")
TEST_HOOK = "test"
FROM_ELSEWHERE = "(known in the cluster alone)"


@dataclass(frozen=True)
class Pod:
    """The pods that one workload makes."""

    owner: Manifest
    labels: Mapping[str, str]
    spec: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.owner['kind']}/{self.owner['metadata']['name']}"

    @property
    def component(self) -> str:
        return self.labels.get("app.kubernetes.io/component", "")

    @property
    def is_test(self) -> bool:
        """Runs once, when asked to (`helm test`), and not as part of what serves."""
        return TEST_HOOK in hooks(self.owner)

    @property
    def containers(self) -> list[Manifest]:
        """Those that run as long as the pod does."""
        return list(self.spec.get("containers", []))

    @property
    def all_containers(self) -> list[Manifest]:
        kinds = ("initContainers", "containers", "ephemeralContainers")
        return [each for kind in kinds for each in self.spec.get(kind, [])]

    @property
    def ports(self) -> dict[str, int]:
        """Port numbers by name."""
        return {
            port["name"]: port["containerPort"]
            for container in self.all_containers
            for port in container.get("ports", [])
            if "name" in port
        }


def hooks(manifest: Manifest) -> set[str]:
    named: str = manifest["metadata"].get("annotations", {}).get("helm.sh/hook", "")
    return {each.strip() for each in named.split(",") if each.strip()}


def title(manifest: Manifest) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def selects(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Kubernetes' label selectors; None selects nothing, an empty one everything."""
    if selector is None:
        return False
    exact: Mapping[str, str] = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in exact.items()):
        return False
    return all(_holds(rule, labels) for rule in selector.get("matchExpressions") or [])


def _holds(rule: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    there = labels.get(rule["key"])
    match rule["operator"]:
        case "In":
            return there in rule["values"]
        case "NotIn":
            return there not in rule["values"]
        case "Exists":
            return there is not None
        case "DoesNotExist":
            return there is None
    raise ValueError(f"{rule['operator']} is no operator of a label selector")


@dataclass(frozen=True)
class Release:
    """What one `helm template` printed, and out of which values."""

    manifests: Sequence[Manifest]
    values: Mapping[str, Any] = field(default_factory=dict)
    name: str = "quorum"
    namespace: str = "quorum"

    def of(self, *kinds: str) -> list[Manifest]:
        return [each for each in self.manifests if each["kind"] in kinds]

    def has(self, kind: str, name: str) -> bool:
        return any(each["metadata"]["name"] == name for each in self.of(kind))

    def one(self, kind: str, name: str) -> Manifest:
        (found,) = (each for each in self.of(kind) if each["metadata"]["name"] == name)
        return found

    @cached_property
    def pods(self) -> list[Pod]:
        return [_pod_of(each) for each in self.of(*WORKLOADS)]

    def of_component(self, component: str) -> list[Pod]:
        return [each for each in self.pods if each.component == component]

    def selected(self, selector: Mapping[str, Any] | None) -> list[Pod]:
        return [each for each in self.pods if selects(selector, each.labels)]

    def behind(self, service: Manifest) -> list[Pod]:
        """The pods that a Service leads to."""
        selector = service["spec"].get("selector")
        return self.selected({"matchLabels": selector} if selector else None)

    def environment(self, container: Manifest) -> dict[str, str]:
        """What the process is given, as far as it is written in the release; `$(NAME)` is left as it stands."""
        found: dict[str, str] = {}
        for each in container.get("envFrom", []):
            name = each.get("configMapRef", {}).get("name")
            if name and self.has("ConfigMap", name):
                found |= self.one("ConfigMap", name)["data"]
        for each in container.get("env", []):
            found[each["name"]] = str(each.get("value", "")) if "valueFrom" not in each else FROM_ELSEWHERE
        return found

    def scaler_of(self, workload: Manifest) -> Manifest | None:
        """The autoscaler that owns its number of replicas."""
        for each in self.of("HorizontalPodAutoscaler", "ScaledObject"):
            target = each["spec"]["scaleTargetRef"]
            if (target.get("kind", "Deployment"), target["name"]) == (workload["kind"], workload["metadata"]["name"]):
                return each
        return None

    def fewest_replicas(self, workload: Manifest) -> int:
        """As few as there may be while all is well."""
        scaler = self.scaler_of(workload)
        if scaler is None:
            return int(workload["spec"].get("replicas", 1))
        return fewest(scaler)


def fewest(scaler: Manifest) -> int:
    """How few pods an autoscaler may leave."""
    if scaler["kind"] == "HorizontalPodAutoscaler":
        return int(scaler["spec"].get("minReplicas", 1))
    return int(scaler["spec"].get("minReplicaCount", 0))


def _pod_of(workload: Manifest) -> Pod:
    if workload["kind"] == "Pod":
        return Pod(workload, workload["metadata"].get("labels", {}), workload["spec"])
    template = workload["spec"]["template"]
    return Pod(workload, template["metadata"].get("labels", {}), template["spec"])


def strings(value: Any) -> Iterator[str]:
    """Every string in a tree of values, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, Sequence):
        for each in value:
            yield from strings(each)


BYTES = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def quantity(written: str | int | float) -> float:
    """Kubernetes' quantities as a number: 500m, 1.5Gi, 2."""
    found = re.fullmatch(r"([0-9.]+)(m|[kMGT]|[KMGT]i)?", str(written))
    if found is None:
        raise ValueError(f"{written!r} is no quantity")
    number, unit = float(found[1]), found[2] or ""
    return number / 1000 if unit == "m" else number * BYTES[unit]
