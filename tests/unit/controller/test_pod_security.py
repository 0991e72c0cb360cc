"""The check itself: each rule of ``restricted`` is broken once."""

import copy
from typing import Any

import pytest

from tests.pod_security import restricted_violations

GOOD: dict[str, Any] = {
    "securityContext": {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
    "containers": [
        {
            "name": "step",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            "ports": [{"containerPort": 80}],
        }
    ],
    "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "token", "projected": {}}],
}


def broken(path: str, value: object) -> dict[str, Any]:
    """A good pod with one field set, or removed."""
    pod = copy.deepcopy(GOOD)
    *parents, last = path.split(".")
    node: Any = pod
    for part in parents:
        node = node[int(part)] if part.isdigit() else node.setdefault(part, {})
    if value is None:
        del node[last]
    else:
        node[last] = value
    return pod


OWN = "containers.0.securityContext"
SHARED = "securityContext"


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("hostNetwork", True, "hostNetwork"),
        ("hostPID", True, "hostPID"),
        ("hostIPC", True, "hostIPC"),
        ("volumes", [{"name": "x", "hostPath": {"path": "/"}}], "volumes[0].hostPath"),
        ("volumes", [{"name": "x", "nfs": {"path": "/"}}], "volumes[0].nfs"),
        (f"{SHARED}.sysctls", [{"name": "kernel.msgmax", "value": "1"}], "kernel.msgmax"),
        (f"{SHARED}.runAsNonRoot", False, "runAsNonRoot"),
        (f"{SHARED}.runAsNonRoot", None, "runAsNonRoot"),
        (f"{OWN}.runAsNonRoot", False, "runAsNonRoot"),
        (f"{SHARED}.runAsUser", 0, "runAsUser"),
        (f"{OWN}.runAsUser", 0, "runAsUser"),
        (f"{SHARED}.seccompProfile", None, "seccompProfile"),
        (f"{SHARED}.seccompProfile.type", "Unconfined", "seccompProfile"),
        (f"{OWN}.seccompProfile", {"type": "Unconfined"}, "seccompProfile"),
        (f"{OWN}.appArmorProfile", {"type": "Unconfined"}, "appArmorProfile"),
        (f"{OWN}.seLinuxOptions", {"type": "spc_t"}, "seLinuxOptions"),
        (f"{OWN}.seLinuxOptions", {"user": "root"}, "seLinuxOptions"),
        (f"{OWN}.windowsOptions", {"hostProcess": True}, "hostProcess"),
        (f"{OWN}.privileged", True, "privileged"),
        (f"{OWN}.procMount", "Unmasked", "procMount"),
        (f"{OWN}.allowPrivilegeEscalation", True, "allowPrivilegeEscalation"),
        (f"{OWN}.allowPrivilegeEscalation", None, "allowPrivilegeEscalation"),
        (f"{OWN}.capabilities", None, "capabilities.drop"),
        (f"{OWN}.capabilities", {"drop": ["NET_RAW"]}, "capabilities.drop"),
        (f"{OWN}.capabilities", {"drop": ["ALL"], "add": ["SYS_TIME"]}, "capabilities.add"),
        ("containers.0.ports", [{"containerPort": 80, "hostPort": 80}], "hostPort"),
        ("containers.0.livenessProbe", {"httpGet": {"host": "1.1.1.1"}}, "livenessProbe"),
        ("containers.0.lifecycle", {"preStop": {"tcpSocket": {"host": "1.1.1.1"}}}, "preStop"),
        ("initContainers", [{"name": "init"}], "initContainers[0]"),
    ],
)
def test_each_rule_is_checked(path: str, value: object, named: str) -> None:
    found = restricted_violations(broken(path, value))

    assert found, f"nothing was found wrong with {path}: {value}"
    assert any(named in violation for violation in found), found


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{OWN}.capabilities", {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}),
        (f"{OWN}.seccompProfile", {"type": "Localhost"}),
        (f"{OWN}.runAsUser", 65532),
        ("containers.0.livenessProbe", {"httpGet": {"port": 80}}),
        ("volumes", [{"name": "x", "secret": {}}]),
    ],
)
def test_what_is_allowed_is_allowed(path: str, value: object) -> None:
    assert restricted_violations(GOOD) == []
    assert restricted_violations(broken(path, value)) == []
