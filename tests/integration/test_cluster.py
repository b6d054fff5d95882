"""The chart in a real cluster: taken by its API server without a warning, installed, tested, changed, taken back.

Not part of a plain run: `KUBECONFIG=… make test-cluster`. `QUORUM_CLUSTER_VALUES` may name a values file that says
where the cluster finds the images. All happens in a namespace of its own, which is deleted at the end.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.chart import CHART, VALUES_FILES, call, helm, of_files, program

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

PATIENCE = "10m"
PATIENCE_S = 720.0
STRICT = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
KINDS_OF_OTHERS = {"ServiceMonitor", "PodMonitor", "PrometheusRule", "ScaledObject", "HTTPRoute"}


@pytest.fixture(scope="session")
def kubeconfig() -> str:
    given = os.environ.get("KUBECONFIG", "")
    if not given:
        pytest.skip("needs a cluster, which KUBECONFIG names")
    program("kubectl")
    return str(Path(given).resolve())


class Cluster:
    """One namespace of it."""

    def __init__(self, kubeconfig: str, namespace: str) -> None:
        self._kubeconfig = kubeconfig
        self.namespace = namespace

    def kubectl(self, *words: str, given: str = "") -> tuple[str, str]:
        """What it prints, and what it warns of."""
        return self._call("kubectl", *words, given=given)

    def helm(self, *words: str | Path, values: Mapping[str, Any] | None = None) -> str:
        """What it prints; `values` go after the file that says where images are."""
        if values is None:
            return self._call("helm", *words)[0]
        images = os.environ.get("QUORUM_CLUSTER_VALUES", "")
        files = ("--values", str(Path(images).resolve())) if images else ()
        return self._call("helm", *words, *files, "--values", "-", given=json.dumps(values))[0]

    def _call(self, name: str, *words: str | Path, given: str = "") -> tuple[str, str]:
        where = ("--namespace", self.namespace)
        done = call(name, *words, *where, given=given, kubeconfig=self._kubeconfig, patience_s=PATIENCE_S)
        assert done.returncode == 0, f"{name} {' '.join(map(str, words))}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout, done.stderr

    def objects(self, *words: str) -> list[dict[str, Any]]:
        out, _ = self.kubectl("get", *words, "--output", "json")
        found: list[dict[str, Any]] = json.loads(out)["items"]
        return found

    def pods(self, component: str) -> set[str]:
        """Those that are not on their way out."""
        found = self.objects("pods", "--selector", f"app.kubernetes.io/component={component}")
        return {each["metadata"]["name"] for each in found if "deletionTimestamp" not in each["metadata"]}


@pytest.fixture(scope="module")
def cluster(kubeconfig: str) -> Iterator[Cluster]:
    cluster = Cluster(kubeconfig, f"quorum-{secrets.token_hex(4)}")
    cluster.kubectl("create", "namespace", cluster.namespace)
    try:
        cluster.kubectl("label", "namespace", cluster.namespace, *(f"{key}={value}" for key, value in STRICT.items()))
        yield cluster
    finally:
        cluster.kubectl("delete", "namespace", cluster.namespace, "--wait=false")


def known_kinds(text: str) -> str:
    """Without the objects whose definitions a cluster may lack."""
    parts = text.split("\n---\n")
    return "\n---\n".join(each for each in parts if not any(f"\nkind: {kind}\n" in each for kind in KINDS_OF_OTHERS))


@pytest.mark.parametrize("name", ["values.yaml", *VALUES_FILES])
def test_the_api_server_takes_every_manifest_without_a_warning(cluster: Cluster, name: str) -> None:
    where = ("--namespace", cluster.namespace)
    manifests = known_kinds(helm("template", "dry", CHART, *where, *of_files((name,))))
    taken, warned = cluster.kubectl(
        "apply", "--dry-run=server", "--validate=strict", "--filename", "-", given=manifests
    )
    assert "Warning" not in warned
    assert taken.count("server dry run") == manifests.count("\nkind: ") > 5


WAYS = {
    "minimal": ("values-minimal.yaml",),
    "defaults": (),
}


@pytest.mark.parametrize("way", WAYS)
def test_it_is_installed_changed_and_taken_back(cluster: Cluster, way: str) -> None:
    release, files = f"q-{way}", tuple(of_files(WAYS[way]))
    wait = ("--wait", "--timeout", PATIENCE)
    before = {"gateway": {"settings": {"MAX_IMAGES": 32}}}
    after = {"gateway": {"settings": {"MAX_IMAGES": 16}}}
    try:
        cluster.helm("install", release, CHART, *wait, *files, values=before)
        assert "ok: " in cluster.helm("test", release, "--logs", "--timeout", PATIENCE)
        first = cluster.pods("gateway")

        cluster.helm("upgrade", release, CHART, *wait, *files, values=before)
        assert first <= cluster.pods("gateway"), "an upgrade that changes nothing replaced pods"

        cluster.helm("upgrade", release, CHART, *wait, *files, values=after)
        second = cluster.pods("gateway")
        assert not second & first, "other settings, and the pods of before"

        cluster.helm("rollback", release, "1", *wait)
        assert not cluster.pods("gateway") & second
        (settings,) = cluster.objects("configmaps", "--selector", "app.kubernetes.io/component=gateway")
        assert settings["data"]["QUORUM_MAX_IMAGES"] == "32"
        assert "ok: " in cluster.helm("test", release, "--logs", "--timeout", PATIENCE)
    finally:
        cluster.helm("uninstall", release, "--ignore-not-found", "--wait", "--timeout", PATIENCE)
        cluster.kubectl("delete", "persistentvolumeclaims", "--all", "--wait=false")
