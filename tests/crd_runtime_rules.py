"""The CEL rules of how an agent's steps run, each with a manifest that it lets in and one that it refuses."""

from typing import Any

from tests.crd_rules import Rule


def runtime(**fields: Any) -> dict[str, Any]:
    spec = {"model": {"provider": "OpenAI", "name": "m"}, "runtime": fields}
    return {"kind": "Agent", "metadata": {"name": "a"}, "spec": spec}


def pod(**fields: Any) -> dict[str, Any]:
    return runtime(pod=fields)


_RESERVED = (
    "keys under parley.dev/, app.kubernetes.io/, batch.kubernetes.io/ and the workload controllers' own"
)
_TAKEN_KEYS = (
    "parley.dev/task", "app.kubernetes.io/name", "batch.kubernetes.io/job-name", "controller-uid", "job-name",
    "pod-template-hash", "container.apparmor.security.beta.kubernetes.io/step",
    "container.seccomp.security.alpha.kubernetes.io/step", "seccomp.security.alpha.kubernetes.io/pod",
)  # fmt: skip
RUNTIME_RULES = [
    Rule(
        "must be at least 10s",
        runtime(warm={"idleTimeout": "10s"}),
        runtime(warm={"idleTimeout": "9999ms"}),
        "spec.runtime.warm.idleTimeout",
    ),
    *(
        Rule(_RESERVED, pod(labels={f"my-{key}": "v"}), pod(labels={key: "v"}), "spec.runtime.pod.labels")
        for key in _TAKEN_KEYS
    ),
    *(
        Rule(
            _RESERVED,
            pod(annotations={f"my-{key}": "v"}),
            pod(annotations={key: "v"}),
            "spec.runtime.pod.annotations",
        )
        for key in _TAKEN_KEYS
    ),
]
