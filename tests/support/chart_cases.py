"""The values that the chart is rendered with in tests: what people choose, and what is at the edges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.chart import CHART, VALUES_FILES, read_yaml, render
from tests.support.manifests import Release

LONGEST_RELEASE = "a" + "-long" * 10 + "-b"
"""53 characters: Helm takes no longer name."""
KEDA = {"enabled": True, "serverAddress": "http://prometheus.monitoring:9090"}
NO_REDIS = {"builtin": {"enabled": False}}


@dataclass(frozen=True)
class Case:
    values: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    release: str = "quorum"
    namespace: str = "quorum"

    def rendered(self) -> Release:
        manifests = render(self.values, *self.files, release=self.release, namespace=self.namespace)
        given = [read_yaml(CHART / each) or {} for each in self.files]
        return Release(manifests, {"files": given, "values": self.values}, self.release, self.namespace)


def _values(**values: Any) -> Case:
    return Case(values)


CASES: dict[str, Case] = {
    "defaults": Case(),
    **{name.removesuffix(".yaml"): Case(files=(name,)) for name in VALUES_FILES},
    "onnx": _values(engine="onnx"),
    "onnx-gateways-alone": _values(
        engine="onnx",
        state=NO_REDIS,
        cache=NO_REDIS,
        gateway={"replicas": 1, "autoscaling": {"enabled": False}, "persistence": {"enabled": True}},
    ),
    "three-pools": _values(
        pools={
            "all": None,
            "cheap": {"backbones": ["resnet-photo"], "replicas": 3},
            "dear": {
                "backbones": ["convnext-world", "resnet-world"],
                "autoscaling": {"enabled": True, "minReplicas": 2},
            },
            "gpu": {"backbones": ["resnet-general"], "hardware": "gpu", "gpus": 2, "runtimeClassName": "nvidia"},
        }
    ),
    "pools-by-keda": _values(
        gateway={"autoscaling": {"enabled": True, "keda": KEDA}},
        pools={
            "all": {"autoscaling": {"enabled": True, "keda": {"enabled": True}}},
            "gpu": {"hardware": "gpu", "autoscaling": {"enabled": True, "keda": {"enabled": True}}},
        },
    ),
    "a-slice-of-a-gpu": _values(pools={"all": {"hardware": "gpu", "gpuResource": "nvidia.com/mig-1g.10gb"}}),
    "replicas-by-hand": _values(gateway={"replicas": 3, "autoscaling": {"enabled": False}}),
    "one-gateway": _values(gateway={"replicas": 1, "autoscaling": {"enabled": False}}),
    "no-budgets": _values(gateway={"pdb": {"enabled": False}}, poolDefaults={"pdb": {"enabled": False}}),
    "monitored": _values(
        monitoring={
            "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
            "rules": {"enabled": True, "labels": {"release": "prometheus"}},
            "dashboard": {"enabled": True},
        }
    ),
    "redis-elsewhere": _values(
        state={**NO_REDIS, "url": "redis://redis.example.com:6380/0"},
        cache={**NO_REDIS, "url": "rediss://cache.example.com:6379/0"},
    ),
    "redis-by-secret": _values(
        state={**NO_REDIS, "urlSecret": {"name": "redis-of-state"}},
        cache={**NO_REDIS, "urlSecret": {"name": "redis-of-cache", "key": "address"}},
    ),
    "redis-with-passwords": _values(
        state={"builtin": {"passwordSecret": {"name": "password-of-state"}}},
        cache={"builtin": {"passwordSecret": {"name": "password-of-cache"}}},
    ),
    "redis-on-a-given-claim": _values(state={"builtin": {"persistence": {"existingClaim": "state-of-before"}}}),
    "redis-without-a-disk": _values(state={"builtin": {"persistence": {"enabled": False}}}),
    "ingress": _values(
        gateway={
            "ingress": {
                "enabled": True,
                "className": "nginx",
                "hosts": [{"host": "quorum.example.com", "paths": [{"path": "/", "pathType": "Prefix"}]}],
                "tls": [{"secretName": "quorum-tls", "hosts": ["quorum.example.com"]}],
            },
            "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}], "hostnames": ["quorum.example.com"]},
        }
    ),
    "repository-on-a-claim": _values(modelRepository={"existingClaim": "zoo", "subPath": "2026-11"}),
    "keys-and-galleries": _values(
        gateway={"apiKeysSecret": {"name": "quorum-keys"}, "tracing": {"endpoint": "http://collector.tracing:4318"}},
        galleries={"url": "http://milvus.milvus:19530", "tokenSecret": {"name": "milvus-token"}},
        tests={"apiKeySecret": {"name": "key-of-the-test"}},
    ),
    "settings": _values(
        gateway={
            "settings": {"MAX_IMAGES": 32, "SHADOW_RATE": 0.05, "DRAIN_TIMEOUT_S": 60, "LOG_LEVEL": "debug"},
            "terminationGracePeriodSeconds": 90,
        }
    ),
    "no-policies": _values(networkPolicy={"enabled": False}),
    "another-name": _values(nameOverride="committee"),
    "another-full-name": _values(fullnameOverride="zoo"),
    "longest-name": Case(
        {"pools": {"all": None, "a-pool-of-20-letters": {}, "b": {}}}, release=LONGEST_RELEASE, namespace="elsewhere"
    ),
    "another-namespace": Case(release="second", namespace="elsewhere"),
    "digests": _values(
        image={"registry": "registry.example.com:5000/ml", "pullSecrets": ["registry"]},
        gateway={"image": {"digest": "sha256:" + "a" * 64}},
        serviceAccount={"create": False, "name": "by-hand"},
    ),
}
