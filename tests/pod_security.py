"""Pod Security Standards, profile ``restricted``, as a function: what a pod's spec violates.

Written after the standard's own tables (baseline and restricted) for Linux pods. The API server enforces the same
with the label ``pod-security.kubernetes.io/enforce: restricted``; this needs none.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Spec = Mapping[str, Any]

_VOLUMES = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)
_SECCOMP = frozenset({"RuntimeDefault", "Localhost"})
_APPARMOR = frozenset({"RuntimeDefault", "Localhost"})
_SELINUX_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"})
_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    }
)


def restricted_violations(pod: Spec) -> list[str]:
    """What a PodSpec violates, each with the path of the field; empty if ``restricted`` admits it."""
    return [
        *_pod(pod),
        *(found for path, container in _containers(pod) for found in _container(path, container, pod)),
    ]


def _containers(pod: Spec) -> Iterator[tuple[str, Spec]]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(pod.get(kind) or ()):
            yield f"spec.{kind}[{index}]", container


def _pod(pod: Spec) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield f"spec.{field} must not be true"
    for index, volume in enumerate(pod.get("volumes") or ()):
        for kind in volume.keys() - _VOLUMES - {"name"}:
            yield f"spec.volumes[{index}].{kind} is not an allowed type of volume"
    context = pod.get("securityContext") or {}
    yield from _shared("spec", context)
    for sysctl in context.get("sysctls") or ():
        if sysctl["name"] not in _SYSCTLS:
            yield f"spec.securityContext.sysctls: {sysctl['name']} is not allowed"


def _container(path: str, container: Spec, pod: Spec) -> Iterator[str]:
    own, shared = container.get("securityContext") or {}, pod.get("securityContext") or {}
    yield from _shared(path, own)
    if own.get("privileged"):
        yield f"{path}.securityContext.privileged must not be true"
    if own.get("procMount", "Default") != "Default":
        yield f"{path}.securityContext.procMount must be Default"
    if own.get("allowPrivilegeEscalation") is not False:
        yield f"{path}.securityContext.allowPrivilegeEscalation must be false"
    if own.get("runAsNonRoot", shared.get("runAsNonRoot")) is not True:
        yield f"{path}: runAsNonRoot must be true here or in the pod"
    if (own.get("seccompProfile") or shared.get("seccompProfile") or {}).get("type") not in _SECCOMP:
        yield f"{path}: seccompProfile.type must be RuntimeDefault or Localhost here or in the pod"
    capabilities = own.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or ()):
        yield f"{path}.securityContext.capabilities.drop must include ALL"
    if set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}:
        yield f"{path}.securityContext.capabilities.add may only have NET_BIND_SERVICE"
    if any(port.get("hostPort") for port in container.get("ports") or ()):
        yield f"{path}.ports: hostPort must not be set"
    yield from _hosts(path, container)


def _shared(path: str, context: Spec) -> Iterator[str]:
    """What pod and container have in common."""
    path += ".securityContext"
    if context.get("runAsNonRoot") is False:
        yield f"{path}.runAsNonRoot must not be false"
    if context.get("runAsUser") == 0:
        yield f"{path}.runAsUser must not be 0"
    if (context.get("seccompProfile") or {}).get("type", "RuntimeDefault") not in _SECCOMP:
        yield f"{path}.seccompProfile.type must be RuntimeDefault or Localhost"
    if (context.get("appArmorProfile") or {}).get("type", "RuntimeDefault") not in _APPARMOR:
        yield f"{path}.appArmorProfile.type must be RuntimeDefault or Localhost"
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield f"{path}.windowsOptions.hostProcess must not be true"
    selinux = context.get("seLinuxOptions") or {}
    if selinux.get("type", "") not in _SELINUX_TYPES or selinux.get("user") or selinux.get("role"):
        yield f"{path}.seLinuxOptions: this type, user or role is not allowed"


def _hosts(path: str, container: Spec) -> Iterator[str]:
    """Probes and hooks must not be sent to another host."""
    lifecycle = container.get("lifecycle") or {}
    handlers: Sequence[tuple[str, Spec | None]] = [
        *((probe, container.get(probe)) for probe in ("livenessProbe", "readinessProbe", "startupProbe")),
        *((hook, lifecycle.get(hook)) for hook in ("postStart", "preStop")),
    ]
    for name, handler in handlers:
        for action in ("httpGet", "tcpSocket"):
            if ((handler or {}).get(action) or {}).get("host"):
                yield f"{path}.{name}.{action}.host must not be set"
