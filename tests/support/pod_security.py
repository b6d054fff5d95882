"""Kubernetes' Pod Security Standard `restricted` (which includes `baseline`), control by control, for Linux pods.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.support.manifests import Pod

VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
}
SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
FILTERS = {"RuntimeDefault", "Localhost"}
APPARMOR = "container.apparmor.security.beta.kubernetes.io/"


def violations(pod: Pod) -> list[str]:
    """What an admission under `restricted` would warn of."""
    found = list(_of_the_pod(pod.spec))
    context = pod.spec.get("securityContext") or {}
    for container in pod.all_containers:
        found += [f"{container['name']}: {words}" for words in _of_a_container(container, context)]
    annotations = _annotations(pod)
    found += [
        f"{key} is {value}"
        for key, value in annotations.items()
        if key.startswith(APPARMOR) and value != "runtime/default" and not value.startswith("localhost/")
    ]
    return [f"{pod.name}: {words}" for words in found]


def _annotations(pod: Pod) -> dict[str, str]:
    owner = pod.owner if pod.owner["kind"] == "Pod" else pod.owner["spec"]["template"]
    return dict(owner["metadata"].get("annotations") or {})


def _of_the_pod(spec: Mapping[str, Any]) -> Iterator[str]:
    context = spec.get("securityContext") or {}
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield f"{key} is on"
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield "hostProcess is on"
    for each in context.get("sysctls") or []:
        if each["name"] not in SYSCTLS:
            yield f"sysctl {each['name']}"
    for volume in spec.get("volumes") or []:
        kinds = volume.keys() - {"name"}
        if not kinds <= VOLUMES:
            yield f"volume {volume['name']} is a {', '.join(sorted(kinds))}"
    yield from _of_any_context(context)


def _of_any_context(context: Mapping[str, Any]) -> Iterator[str]:
    """What holds for a pod's context and for a container's alike."""
    selinux = context.get("seLinuxOptions") or {}
    if selinux.get("type", "") not in SELINUX_TYPES or selinux.get("user") or selinux.get("role"):
        yield "SELinux options"
    if (context.get("appArmorProfile") or {}).get("type") == "Unconfined":
        yield "AppArmor is off"
    if context.get("runAsUser") == 0:
        yield "runAsUser is 0"
    if context.get("runAsNonRoot") is False:
        yield "runAsNonRoot is false"
    profile = (context.get("seccompProfile") or {}).get("type")
    if profile is not None and profile not in FILTERS:
        yield f"seccompProfile is {profile}"


def _of_a_container(container: Mapping[str, Any], of_the_pod: Mapping[str, Any]) -> Iterator[str]:
    context = container.get("securityContext") or {}
    yield from _of_any_context(context)
    if context.get("privileged"):
        yield "privileged is on"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if context.get("procMount", "Default") != "Default":
        yield "procMount is not the default"
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield "hostProcess is on"
    both = {**of_the_pod, **context}
    if both.get("runAsNonRoot") is not True:
        yield "runAsNonRoot is not true"
    if (both.get("seccompProfile") or {}).get("type") not in FILTERS:
        yield "no seccompProfile"
    yield from _of_capabilities(context.get("capabilities") or {})
    yield from _of_its_surroundings(container)


def _of_capabilities(capabilities: Mapping[str, Any]) -> Iterator[str]:
    if "ALL" not in (capabilities.get("drop") or []):
        yield "capabilities are not dropped"
    added = set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}
    if added:
        yield f"capabilities {', '.join(sorted(added))} are added"


def _of_its_surroundings(container: Mapping[str, Any]) -> Iterator[str]:
    """The node's ports, and hosts that the node itself would be made to call."""
    for port in container.get("ports") or []:
        if port.get("hostPort"):
            yield f"hostPort {port['hostPort']}"
    lifecycle = container.get("lifecycle") or {}
    handlers = {key: container.get(key) for key in ("livenessProbe", "readinessProbe", "startupProbe")}
    handlers |= {key: lifecycle.get(key) for key in ("postStart", "preStop")}
    for name, handler in handlers.items():
        if any(((handler or {}).get(kind) or {}).get("host") for kind in ("httpGet", "tcpSocket")):
            yield f"{name} calls another host"
