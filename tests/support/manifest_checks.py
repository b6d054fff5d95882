"""What must hold for the manifests of any release, whatever its values. Each check says what is wrong, in words.

Every one of them is shown manifests that break it, in tests/unit/helm/test_checks.py.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator

from tests.support.manifests import SCALED, Manifest, Pod, Release, fewest, quantity, selects, title

Check = Callable[[Release], Iterator[str]]

LONGEST_NAME = 63
LONGEST_STATEFUL_NAME = 52
"""A StatefulSet's name and eleven characters of a hash are a label's value."""
LONGEST_PORT_NAME = 15
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
WANTED_LABELS = {
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "helm.sh/chart",
}


def names_are_valid_and_unique(release: Release) -> Iterator[str]:
    for name, times in Counter(title(each) for each in release.manifests).items():
        if times > 1:
            yield f"{name} is there {times} times"
    for each in release.manifests:
        name = each["metadata"]["name"]
        if each["metadata"].get("namespace", release.namespace) != release.namespace:
            yield f"{title(each)} is in another namespace"
        longest = LONGEST_STATEFUL_NAME if each["kind"] == "StatefulSet" else LONGEST_NAME
        form = LABEL if each["kind"] in ("Service", *SCALED) else SUBDOMAIN
        if len(name) > longest:
            yield f"{title(each)} has a name of {len(name)} characters"
        if not form.fullmatch(name):
            yield f"{title(each)} has a name that DNS does not take"


def labels_are_valid(release: Release) -> Iterator[str]:
    for each in release.manifests:
        missing = WANTED_LABELS - each["metadata"].get("labels", {}).keys()
        if missing:
            yield f"{title(each)} has no label {', '.join(sorted(missing))}"
    for name, labels in _all_labels(release):
        for key, value in labels.items():
            if not isinstance(value, str) or len(value) > LONGEST_NAME or not LABEL_VALUE.fullmatch(value):
                yield f"{name}: the label {key} cannot be {value!r}"
            if not LABEL_KEY.fullmatch(key):
                yield f"{name}: {key!r} is no label's name"


def _all_labels(release: Release) -> Iterator[tuple[str, dict[str, str]]]:
    for each in release.manifests:
        yield title(each), each["metadata"].get("labels", {})
    for pod in release.pods:
        yield f"pods of {pod.name}", dict(pod.labels)


def selectors_find_their_own_pods(release: Release) -> Iterator[str]:
    """Each workload's selector its own pods alone; each Service and budget the pods of one workload that serves."""
    workloads = release.of(*SCALED, "DaemonSet")
    for each in workloads:
        found = [pod.name for pod in release.selected(each["spec"]["selector"])]
        if found != [title(each)]:
            yield f"{title(each)} selects {found or 'nothing'}"
    for each in release.of("Service"):
        found = [pod.name for pod in release.behind(each)]
        if len(found) != 1:
            yield f"{title(each)} leads to {found or 'nothing'}"
    for each in release.of("PodDisruptionBudget"):
        found = [pod.name for pod in release.selected(each["spec"]["selector"])]
        if len(found) != 1:
            yield f"{title(each)} is for {found or 'nothing'}"
    for each in workloads:
        governing = each["spec"].get("serviceName")
        if governing is not None and not release.has("Service", governing):
            yield f"{title(each)} names the Service {governing}, which is not there"


def spreading_is_over_its_own_pods(release: Release) -> Iterator[str]:
    for pod in release.pods:
        terms = [each["labelSelector"] for each in pod.spec.get("topologySpreadConstraints", [])]
        apart = pod.spec.get("affinity", {}).get("podAntiAffinity", {})
        terms += [each["podAffinityTerm"]["labelSelector"] for each in _weighted(apart)]
        terms += [each["labelSelector"] for each in apart.get("requiredDuringSchedulingIgnoredDuringExecution", [])]
        if not all(selects(term, pod.labels) for term in terms):
            yield f"{pod.name} is spread over other pods than its own"


def _weighted(affinity: Manifest) -> list[Manifest]:
    return list(affinity.get("preferredDuringSchedulingIgnoredDuringExecution", []))


def ports_exist(release: Release) -> Iterator[str]:
    for pod in release.pods:
        named = [port["name"] for each in pod.all_containers for port in each.get("ports", []) if "name" in port]
        if len(named) != len(set(named)):
            yield f"{pod.name} has two ports of one name: {named}"
        for name in named:
            if len(name) > LONGEST_PORT_NAME or not LABEL.fullmatch(name):
                yield f"{pod.name}: {name} is no name of a port"
    for service in release.of("Service"):
        for port in service["spec"]["ports"]:
            target = port.get("targetPort", port["port"])
            for pod in release.behind(service):
                if not _listens(pod, target):
                    yield f"{title(service)} leads to the port {target}, which {pod.name} does not have"


def _listens(pod: Pod, port: str | int) -> bool:
    return port in (pod.ports if isinstance(port, str) else pod.ports.values())


def probes_ask_ports_that_exist(release: Release) -> Iterator[str]:
    for pod in release.pods:
        for container in pod.containers:
            for probe in PROBES:
                asked = container.get(probe)
                if asked is None:
                    if not pod.is_test:
                        yield f"{pod.name}: {container['name']} has no {probe}"
                    continue
                port = (asked.get("httpGet") or asked.get("tcpSocket") or asked.get("grpc") or {}).get("port")
                if port is None and "exec" not in asked:
                    yield f"{pod.name}: the {probe} of {container['name']} asks nothing"
                if port is not None and not _listens(pod, port):
                    yield f"{pod.name}: the {probe} of {container['name']} asks the port {port}, which is not there"


def variables_are_set_once(release: Release) -> Iterator[str]:
    for pod in release.pods:
        for container in pod.all_containers:
            names = Counter(each["name"] for each in container.get("env", []))
            for source in container.get("envFrom", []):
                name = source.get("configMapRef", {}).get("name")
                if name and release.has("ConfigMap", name):
                    names.update(release.one("ConfigMap", name)["data"].keys())
            for name, times in names.items():
                if times > 1:
                    yield f"{pod.name}: {container['name']} is given {name} {times} times"


def images_are_pinned(release: Release) -> Iterator[str]:
    for pod in release.pods:
        for container in pod.all_containers:
            image: str = container["image"]
            name, _, digest = image.partition("@")
            tag = name.rpartition("/")[2].partition(":")[2]
            if digest and not re.fullmatch("sha256:[0-9a-f]{64}", digest):
                yield f"{pod.name}: {image} has a digest that is none"
            if not digest and (not tag or tag == "latest"):
                yield f"{pod.name}: {image} has neither a tag nor a digest"


def resources_are_bounded(release: Release) -> Iterator[str]:
    for pod in release.pods:
        for container in pod.all_containers:
            where = f"{pod.name}: {container['name']}"
            requests = container.get("resources", {}).get("requests", {})
            limits = container.get("resources", {}).get("limits", {})
            for kind, given in (("requests", requests), ("limits", limits)):
                missing = {"cpu", "memory"} - given.keys()
                if missing:
                    yield f"{where} has no {kind} of {', '.join(sorted(missing))}"
            for name in requests.keys() & limits.keys():
                if quantity(requests[name]) > quantity(limits[name]):
                    yield f"{where} requests more {name} than its limit"


def budgets_let_a_node_be_drained(release: Release) -> Iterator[str]:
    """A budget that allows no disruption makes `kubectl drain` wait for ever."""
    for each in release.of("PodDisruptionBudget"):
        spec = each["spec"]
        for pod in release.selected(spec["selector"]):
            replicas = release.fewest_replicas(pod.owner)
            at_least, away = spec.get("minAvailable"), spec.get("maxUnavailable")
            if isinstance(at_least, str) or isinstance(away, str):
                yield f"{title(each)} is in percent, which a drain of few pods rounds"
            elif at_least is not None and at_least >= replicas:
                yield f"{title(each)} wants {at_least} of {replicas}: no pod may ever leave"
            elif away is not None and away < 1:
                yield f"{title(each)} lets no pod leave"
            elif away is not None and away >= replicas > 1:
                yield f"{title(each)} lets all {replicas} pods leave at once"


def replicas_have_one_owner(release: Release) -> Iterator[str]:
    for each in release.of(*SCALED):
        scaler = release.scaler_of(each)
        if scaler is not None and "replicas" in each["spec"]:
            yield f"{title(each)} has replicas, which {title(scaler)} owns"
        if scaler is None and "replicas" not in each["spec"]:
            yield f"{title(each)} has neither replicas nor an autoscaler"
    targets: Counter[str] = Counter()
    for each in release.of("HorizontalPodAutoscaler", "ScaledObject"):
        target = each["spec"]["scaleTargetRef"]
        name = f"{target.get('kind', 'Deployment')}/{target['name']}"
        targets[name] += 1
        if not release.has(*name.split("/", 1)):
            yield f"{title(each)} scales {name}, which is not there"
        if fewest(each) < 1:
            yield f"{title(each)} may take every pod away"
    yield from (f"{name} has {times} autoscalers" for name, times in targets.items() if times > 1)


def no_pod_has_a_token(release: Release) -> Iterator[str]:
    for pod in release.pods:
        if pod.spec.get("automountServiceAccountToken") is not False:
            yield f"{pod.name} is given a token of Kubernetes'"
    for each in release.of("ServiceAccount"):
        if each.get("automountServiceAccountToken") is not False:
            yield f"{title(each)} hands out tokens"


def root_file_systems_are_read_only(release: Release) -> Iterator[str]:
    """And what is written to instead has a bound."""
    for pod in release.pods:
        for container in pod.all_containers:
            if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
                yield f"{pod.name}: {container['name']} may write to its image"
        for volume in pod.spec.get("volumes", []):
            if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
                yield f"{pod.name}: the volume {volume['name']} has no bound"


ALL: tuple[Check, ...] = (
    names_are_valid_and_unique,
    labels_are_valid,
    selectors_find_their_own_pods,
    spreading_is_over_its_own_pods,
    ports_exist,
    probes_ask_ports_that_exist,
    variables_are_set_once,
    images_are_pinned,
    resources_are_bounded,
    budgets_let_a_node_be_drained,
    replicas_have_one_owner,
    no_pod_has_a_token,
    root_file_systems_are_read_only,
)
