"""Is Postgres there, and is it the right one? Asked of the processes that use it: nobody else has its URL."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from parley.cli.findings import Finding, note, ok, wrong
from parley.cli.installation import COMPONENT, PARLEY, Installation
from parley.cli.kube import STATEFUL_SET, Kube
from parley.cli.reading import condition, name_of, namespace_of, number, objects, text
from parley.kube.client import JsonObject
from parley.kube.errors import Forbidden, KubeError, NotFound
from parley.kube.kinds import CONFIG_MAP, EVENT, POD

STORE_NAME = "parley-store"
_MOST_ASKED = 8
_OF_THE_STORE = ("store", "database")
"""One of these words is in what an operator's process says that cannot use it. A gateway's says nothing else."""


@dataclass(slots=True)
class _Said:
    """What Parley's processes say of themselves.

    Attributes:
        without_store: why they cannot use it, by pod.
        troubles: why operators that can use it cannot work, by pod.
        asked: how many pods answered.
        lacking: the caller may not ask them.
    """

    without_store: dict[str, str] = field(default_factory=dict[str, str])
    troubles: dict[str, str] = field(default_factory=dict[str, str])
    asked: int = 0
    lacking: bool = False


def check_store(kube: Kube, installation: Installation) -> Iterator[Finding]:
    """Is it known which store this is, is it the right one, and do Parley's processes reach it?"""
    namespace = installation.namespace
    try:
        known = text(kube.get(CONFIG_MAP, namespace, STORE_NAME), "data", "id")
    except NotFound:
        known = ""
    mismatch = _mismatch(kube, installation)
    if mismatch:
        yield wrong("store", mismatch, f"kubectl describe configmap {STORE_NAME} -n {namespace}")
        return
    pods = _running(kube, namespace)
    said = _ask(kube, pods)
    away = _bundled_is_away(kube, namespace)
    for pod, why in said.troubles.items():
        yield wrong("operator", f"{pod}: {why}", f"see more: kubectl logs {pod} -n {namespace}")
    logs = f"kubectl logs -n {namespace} -l {PARLEY},{COMPONENT}=operator"
    if away is not None:
        yield away
    elif said.without_store:
        (pod, why), *more = said.without_store.items()
        yield wrong(
            "store",
            f"Postgres cannot be used, says {pod}{f' and {len(more)} more' if more else ''}: {why}",
            "see whether Postgres runs, and whether the URL in the Secret of the chart's database.urlSecretRef is "
            f"right; then {logs}",
        )
    elif not known:
        yield wrong(
            "store",
            f"the ConfigMap {STORE_NAME} is missing: the operator has never reached Postgres",
            f"see why: {logs}",
        )
    elif said.lacking and not all(map(_is_ready, pods)):
        unready = ", ".join(name_of(pod) for pod in pods if not _is_ready(pod))
        yield note(
            "store",
            f"id {known}; {unready}: not ready, perhaps because Postgres is away (to ask them you lack get pods/proxy)",
            f"see why: {logs}",
        )
    else:
        yield ok("store", f"id {known}{'; Postgres is there' if said.asked and not said.troubles else ''}")


def _mismatch(kube: Kube, installation: Installation) -> str:
    """What the operator says of a store that is not the right one; empty where it is."""
    operator = installation.operator
    if number(operator, "status", "readyReplicas") < number(operator, "spec", "replicas"):
        # While the store is another one the leader is not ready; an Event of a mismatch that is over stays for an hour.
        for event in kube.list(EVENT, installation.namespace, fields=f"regarding.name={STORE_NAME}").items:
            if text(event, "reason") == "StoreMismatch":
                return text(event, "note")
    return ""


def _running(kube: Kube, namespace: str) -> list[JsonObject]:
    try:
        pods = kube.list(POD, namespace, labels=f"{PARLEY},{COMPONENT} in (operator,gateway)").items
    except Forbidden:
        return []
    return [
        pod
        for pod in pods
        if text(pod, "status", "phase") == "Running" and not text(pod, "metadata", "deletionTimestamp")
    ]


def _is_ready(pod: JsonObject) -> bool:
    return text(condition(pod, "Ready"), "status") == "True"


def _ask(kube: Kube, pods: Sequence[JsonObject]) -> _Said:
    """Ask each pod what its readiness probe asks: now, where its condition tells of up to ten seconds ago."""
    said = _Said()
    for pod in pods[:_MOST_ASKED]:
        port = next((number(one, "containerPort") for one in _ports(pod) if text(one, "name") == "http"), 0)
        try:
            status, body = kube.ask_pod(namespace_of(pod), name_of(pod), port, "/readyz")
        except Forbidden:
            said.lacking = True
            return said
        except KubeError:
            # That it does not answer is told of the pods.
            continue
        said.asked += 1
        if status != 200:
            why = _why(body)
            is_gateway = text(pod, "metadata", "labels", COMPONENT) == "gateway"
            of_the_store = is_gateway or any(word in why for word in _OF_THE_STORE)
            (said.without_store if of_the_store else said.troubles)[name_of(pod)] = why
    return said


def _ports(pod: JsonObject) -> Iterator[JsonObject]:
    for container in objects(pod, "spec", "containers"):
        yield from objects(container, "ports")


def _why(body: str) -> str:
    """What an answer says: the gateway's is JSON, the operator's a line."""
    try:
        return text(json.loads(body), "detail") or body.strip()
    except ValueError:
        return body.strip()


def _bundled_is_away(kube: Kube, namespace: str) -> Finding | None:
    """What is wrong with the Postgres that the chart may have brought along."""
    try:
        found = kube.list(STATEFUL_SET, namespace, labels=f"{PARLEY},{COMPONENT}=postgres").items
    except Forbidden:
        return None
    for one in found:
        where = f"statefulset/{name_of(one)} -n {namespace}"
        if number(one, "spec", "replicas") == 0:
            return wrong(
                "store", f"Postgres ({name_of(one)}) is scaled to 0", f"kubectl scale {where} --replicas=1"
            )
        if number(one, "status", "readyReplicas") == 0:
            return wrong(
                "store",
                f"Postgres ({name_of(one)}) is not ready",
                f"see why: kubectl describe {where}; kubectl logs {where}",
            )
    return None
