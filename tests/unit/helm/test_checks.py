"""The checks themselves: silent on a sound release, and each of them heard when it is broken on purpose."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import manifest_checks as checks
from tests.support.manifest_checks import Check
from tests.support.manifests import Manifest, Release, quantity, selects
from tests.support.network import INTERNET, edges
from tests.support.pod_security import violations
from tests.support.references import references_exist

_READ = yaml.safe_load((Path(__file__).parent / "sound.yaml").read_text(encoding="utf-8"))
SOUND: list[Manifest] = json.loads(json.dumps(_READ))  # so that what shares an anchor is changed on its own
GIVEN = {"secret": "given"}

Path_ = tuple[str | int, ...]
DEPLOYMENT, STATEFUL_SET, SERVICE = 0, 1, 2
CONFIG_MAP, ACCOUNT, STORE_BUDGET, WEB_BUDGET, SCALER, INGRESS, SERVICE_MONITOR, POD_MONITOR = range(4, 12)
POD: Path_ = (DEPLOYMENT, "spec", "template", "spec")
CONTAINER: Path_ = (*POD, "containers", 0)
GONE = object()


def broken(path: Path_, value: Any) -> Release:
    """The sound release with one thing changed, or taken out."""
    manifests = copy.deepcopy(SOUND)
    *way, last = path
    place: Any = manifests
    for step in way:
        place = place.setdefault(step, {}) if isinstance(place, dict) else place[step]
    if value is GONE:
        del place[last]
    else:
        place[last] = value
    return Release(manifests, GIVEN)


def sound() -> Release:
    return Release(copy.deepcopy(SOUND), GIVEN)


@pytest.mark.parametrize("check", [*checks.ALL, references_exist], ids=lambda check: check.__name__)
def test_a_sound_release_is_passed(check: Check) -> None:
    assert list(check(sound())) == []


BROKEN: list[tuple[Check, Path_, Any, str]] = [
    (checks.names_are_valid_and_unique, (3, "metadata", "name"), "web", "is there 2 times"),
    (checks.names_are_valid_and_unique, (2, "metadata", "namespace"), "default", "another namespace"),
    (checks.names_are_valid_and_unique, (STATEFUL_SET, "metadata", "name"), "s" * 53, "53 characters"),
    (checks.names_are_valid_and_unique, (2, "metadata", "name"), "web.a", "DNS does not take"),
    (checks.labels_are_valid, (2, "metadata", "labels", "helm.sh/chart"), GONE, "has no label helm.sh/chart"),
    (checks.labels_are_valid, (2, "metadata", "labels", "b"), "-", "the label b cannot be '-'"),
    (checks.labels_are_valid, (2, "metadata", "labels", "b"), 1, "the label b cannot be 1"),
    (checks.labels_are_valid, (2, "metadata", "labels", "b c"), "d", "'b c' is no label's name"),
    (
        checks.selectors_find_their_own_pods,
        (DEPLOYMENT, "spec", "selector", "matchLabels", "app"),
        "wep",
        "Deployment/web selects nothing",
    ),
    (checks.selectors_find_their_own_pods, (DEPLOYMENT, "spec", "selector"), {}, "Deployment/web selects ["),
    (checks.selectors_find_their_own_pods, (SERVICE, "spec", "selector", "app"), "wep", "leads to nothing"),
    (
        checks.selectors_find_their_own_pods,
        (WEB_BUDGET, "spec", "selector", "matchLabels", "app"),
        "wep",
        "is for nothing",
    ),
    (checks.selectors_find_their_own_pods, (STATEFUL_SET, "spec", "serviceName"), "shop", "which is not there"),
    (
        checks.spreading_is_over_its_own_pods,
        (*POD, "topologySpreadConstraints", 0, "labelSelector", "matchLabels", "app"),
        "store",
        "spread over other pods",
    ),
    (checks.ports_exist, (SERVICE, "spec", "ports", 0, "targetPort"), "grpc", "leads to the port grpc"),
    (checks.ports_exist, (SERVICE, "spec", "ports", 0, "targetPort"), 80, "leads to the port 80"),
    (checks.ports_exist, (*CONTAINER, "ports", 0, "name"), "more-than-fifteen", "is no name of a port"),
    (
        checks.ports_exist,
        (*CONTAINER, "ports"),
        [{"name": "http", "containerPort": 1}, {"name": "http", "containerPort": 2}],
        "two ports of one name",
    ),
    (checks.probes_ask_ports_that_exist, (*CONTAINER, "livenessProbe"), GONE, "has no livenessProbe"),
    (checks.probes_ask_ports_that_exist, (*CONTAINER, "startupProbe", "httpGet", "port"), "web", "asks the port web"),
    (checks.probes_ask_ports_that_exist, (*CONTAINER, "startupProbe"), {"periodSeconds": 1}, "asks nothing"),
    (checks.variables_are_set_once, (*CONTAINER, "env", 0, "name"), "COLOUR", "is given COLOUR 2 times"),
    (checks.images_are_pinned, (*CONTAINER, "image"), "web", "neither a tag nor a digest"),
    (checks.images_are_pinned, (*CONTAINER, "image"), "registry:5000/web", "neither a tag nor a digest"),
    (checks.images_are_pinned, (*CONTAINER, "image"), "web:latest", "neither a tag nor a digest"),
    (checks.images_are_pinned, (*CONTAINER, "image"), "web:1@sha256:12", "a digest that is none"),
    (checks.resources_are_bounded, (*CONTAINER, "resources"), {}, "no limits of cpu, memory"),
    (
        checks.resources_are_bounded,
        (*CONTAINER, "resources"),
        {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"cpu": 1, "memory": "1023Mi"}},
        "requests more memory",
    ),
    (checks.budgets_let_a_node_be_drained, (STORE_BUDGET, "spec", "minAvailable"), 2, "no pod may ever leave"),
    (checks.budgets_let_a_node_be_drained, (WEB_BUDGET, "spec", "maxUnavailable"), 0, "lets no pod leave"),
    (checks.budgets_let_a_node_be_drained, (WEB_BUDGET, "spec", "maxUnavailable"), 2, "all 2 pods leave at once"),
    (checks.budgets_let_a_node_be_drained, (WEB_BUDGET, "spec", "maxUnavailable"), "50%", "in percent"),
    (checks.replicas_have_one_owner, (DEPLOYMENT, "spec", "replicas"), 2, "which HorizontalPodAutoscaler/web owns"),
    (checks.replicas_have_one_owner, (STATEFUL_SET, "spec", "replicas"), GONE, "neither replicas nor"),
    (checks.replicas_have_one_owner, (SCALER, "spec", "scaleTargetRef", "name"), "wep", "which is not there"),
    (checks.replicas_have_one_owner, (SCALER, "spec", "minReplicas"), 0, "may take every pod away"),
    (checks.no_pod_has_a_token, (*POD, "automountServiceAccountToken"), GONE, "is given a token"),
    (checks.no_pod_has_a_token, (ACCOUNT, "automountServiceAccountToken"), True, "hands out tokens"),
    (
        checks.root_file_systems_are_read_only,
        (*CONTAINER, "securityContext", "readOnlyRootFilesystem"),
        GONE,
        "may write to its image",
    ),
    (checks.root_file_systems_are_read_only, (*POD, "volumes", 0, "emptyDir"), {}, "tmp has no bound"),
    (references_exist, (*CONTAINER, "envFrom", 0, "configMapRef", "name"), "wep", "names ConfigMap/wep"),
    (references_exist, (*POD, "volumes", 1, "secret", "secretName"), "found", "names Secret/found"),
    (references_exist, (*POD, "serviceAccountName"), "wep", "names ServiceAccount/wep"),
    (references_exist, (*POD, "imagePullSecrets"), [{"name": "wep"}], "names Secret/wep"),
    (
        references_exist,
        (*CONTAINER, "env", 0),
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "web", "key": "SHAPE"}}},
        "which has no such key",
    ),
    (references_exist, (*CONTAINER, "volumeMounts", 0, "name"), "tmb", "mounts tmb"),
    (references_exist, (*CONTAINER, "volumeMounts"), [], "which nothing mounts"),
    (references_exist, (*CONTAINER, "volumeMounts", 1, "mountPath"), "/tmp", "two mounts at one path"),
    (references_exist, (INGRESS, "spec", "rules", 0, "host"), "b", ""),
    (references_exist, (SERVICE, "spec", "ports", 0, "name"), "web", "leads to the port {'name': 'http'}"),
    (references_exist, (SERVICE, "metadata", "name"), "wep", "leads to Service/web"),
    (references_exist, (SERVICE_MONITOR, "spec", "endpoints", 0, "port"), "metrics", "scrapes the port metrics"),
    (references_exist, (POD_MONITOR, "spec", "selector", "matchLabels", "app"), "wep", "finds nothing"),
]


@pytest.mark.parametrize(("check", "path", "value", "words"), BROKEN)
def test_what_is_broken_is_said(check: Check, path: Path_, value: Any, words: str) -> None:
    said = "; ".join(check(broken(path, value)))
    assert words in said
    assert bool(said) is bool(words)


def test_every_check_was_shown_something_broken() -> None:
    assert {check for check, *_ in BROKEN} == {*checks.ALL, references_exist}


CONTEXT: Path_ = (*CONTAINER, "securityContext")
POD_CONTEXT: Path_ = (*POD, "securityContext")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((*POD, "hostNetwork"), True),
        ((*POD, "hostPID"), True),
        ((*POD, "hostIPC"), True),
        ((*POD, "volumes", 0), {"name": "tmp", "hostPath": {"path": "/"}}),
        ((*POD_CONTEXT, "sysctls"), [{"name": "kernel.msgmax", "value": "1"}]),
        ((*POD_CONTEXT, "windowsOptions"), {"hostProcess": True}),
        ((*POD_CONTEXT, "runAsNonRoot"), GONE),
        ((*POD_CONTEXT, "runAsUser"), 0),
        ((*POD_CONTEXT, "seccompProfile"), GONE),
        ((*POD_CONTEXT, "seccompProfile", "type"), "Unconfined"),
        ((*POD_CONTEXT, "seLinuxOptions"), {"type": "spc_t"}),
        ((*POD_CONTEXT, "appArmorProfile"), {"type": "Unconfined"}),
        ((*CONTEXT, "runAsNonRoot"), False),
        ((*CONTEXT, "runAsUser"), 0),
        ((*CONTEXT, "privileged"), True),
        ((*CONTEXT, "procMount"), "Unmasked"),
        ((*CONTEXT, "windowsOptions"), {"hostProcess": True}),
        ((*CONTEXT, "allowPrivilegeEscalation"), GONE),
        ((*CONTEXT, "capabilities"), {}),
        ((*CONTEXT, "capabilities", "add"), ["NET_ADMIN"]),
        ((*CONTEXT, "seccompProfile"), {"type": "Unconfined"}),
        ((*CONTEXT, "seLinuxOptions"), {"user": "a"}),
        ((*CONTAINER, "ports", 0, "hostPort"), 80),
        ((*CONTAINER, "livenessProbe", "tcpSocket", "host"), "example.com"),
        ((*CONTAINER, "lifecycle"), {"preStop": {"httpGet": {"host": "example.com", "port": 80}}}),
        (
            (DEPLOYMENT, "spec", "template", "metadata", "annotations"),
            {"container.apparmor.security.beta.kubernetes.io/web": "unconfined"},
        ),
    ],
    ids=lambda each: ".".join(map(str, each)) if isinstance(each, tuple) else "",
)
def test_every_control_of_the_restricted_standard_is_heard(path: Path_, value: Any) -> None:
    assert [words for pod in sound().pods for words in violations(pod)] == []
    assert [words for pod in broken(path, value).pods for words in violations(pod)]


def test_init_containers_are_held_to_the_standard_too() -> None:
    release = broken((*POD, "initContainers"), [{"name": "first", "image": "web:1.2"}])
    assert {words.split(": ")[1] for pod in release.pods for words in violations(pod)} == {"first"}


WANTED = {
    ("dns", "web", "http"),
    ("prometheus", "web", "http"),
    ("neighbour", "web", "http"),
    ("web", "store", "store"),
    ("web", "dns", "dns"),
}


def test_policies_are_read_on_both_ends() -> None:
    assert edges(sound()) == WANTED


ALL_PORTS = tuple(INTERNET.ports)
POLICY_OF_ALL, POLICY_OF_WEB, POLICY_OF_STORE = 12, 13, 14
OUT: Path_ = (POLICY_OF_WEB, "spec", "egress")
IN: Path_ = (POLICY_OF_STORE, "spec", "ingress")


@pytest.mark.parametrize(
    ("path", "value", "more", "fewer"),
    [
        ((*IN, 0, "from", 0, "podSelector", "matchLabels", "app"), "wep", set(), {("web", "store", "store")}),
        ((*IN, 0, "ports", 0, "port"), "stock", set(), {("web", "store", "store")}),
        ((*IN, 0, "ports", 0, "protocol"), "UDP", set(), {("web", "store", "store")}),
        (
            (*IN, 0, "from"),
            [],
            {(each, "store", "store") for each in ("dns", "prometheus", "neighbour", "internet")},
            set(),
        ),
        ((*IN, 0, "from", 0, "namespaceSelector"), {}, set(), set()),
        ((*OUT, 0, "ports", 0), {"port": 6000, "endPort": 6999}, set(), {("web", "store", "store")}),
        ((*OUT, 0, "ports", 0), {"port": 6000, "endPort": 7999}, set(), set()),
        ((*OUT, 1, "ports"), [], {("web", "neighbour", "any")}, set()),
        ((*OUT, 1, "to", 0, "ipBlock", "except"), [], set(), set()),
        ((*OUT, 1), {}, {("web", "internet", port) for port in ALL_PORTS} | {("web", "neighbour", "any")}, set()),
        (
            (POLICY_OF_WEB, "spec", "policyTypes"),
            ["Egress"],
            set(),
            {(each, "web", "http") for each in ("dns", "prometheus", "neighbour")},
        ),
        (
            (POLICY_OF_ALL, "spec", "policyTypes"),
            ["Ingress"],
            {("store", "dns", "dns"), ("store", "web", "http")}
            | {("store", "internet", port) for port in ALL_PORTS}
            | {("store", "neighbour", "any")},
            set(),
        ),
    ],
)
def test_a_changed_policy_changes_who_may_connect(path: Path_, value: Any, more: set[Any], fewer: set[Any]) -> None:
    assert edges(broken(path, value)) == (WANTED | more) - fewer


def test_without_policies_everything_is_open() -> None:
    release = Release([each for each in SOUND if each["kind"] != "NetworkPolicy"])
    assert {("internet", "store", "store"), ("store", "internet", "https"), ("store", "web", "http")} <= edges(release)


@pytest.mark.parametrize(
    ("written", "number"), [("500m", 0.5), ("2", 2), (3, 3), ("1Ki", 1024), ("1.5Gi", 1.5 * 2**30), ("1M", 1e6)]
)
def test_quantities_are_read(written: str | int, number: float) -> None:
    assert quantity(written) == number


def test_what_is_no_quantity_is_refused() -> None:
    with pytest.raises(ValueError, match="is no quantity"):
        quantity("much")


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ({"key": "a", "operator": "In", "values": ["1", "2"]}, True),
        ({"key": "a", "operator": "NotIn", "values": ["1"]}, False),
        ({"key": "a", "operator": "Exists"}, True),
        ({"key": "b", "operator": "Exists"}, False),
        ({"key": "b", "operator": "DoesNotExist"}, True),
    ],
)
def test_selectors_by_expression_are_read(rule: dict[str, Any], holds: bool) -> None:
    assert selects({"matchExpressions": [rule]}, {"a": "1"}) is holds
    assert selects({}, {"a": "1"})
    assert not selects(None, {"a": "1"})
