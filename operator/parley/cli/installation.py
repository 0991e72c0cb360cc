"""Checks of what is installed: Deployments and their versions, the leader's Lease, policies, pods."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

from parley.cli.failures import CliError
from parley.cli.findings import Finding, note, ok, wrong
from parley.cli.installations import serving
from parley.cli.kube import DEPLOYMENT, MUTATING_POLICY, VALIDATING_POLICY, Kube
from parley.cli.reading import dig, mapping, name_of, namespace_of, number, objects, text
from parley.cli.text import age, instant
from parley.kube.client import JsonObject
from parley.kube.errors import NotFound
from parley.kube.kinds import LEASE, POD

PARLEY = "app.kubernetes.io/name=parley"
COMPONENT = "app.kubernetes.io/component"
LEASE_NAME = "parley-operator"
_RECENT = timedelta(hours=1)
_RENEWED = timedelta(seconds=30)
_LOOK_AGAIN_SECONDS = 4.0
_POLICIES = 2
"""Of each kind: one for Replies, one for Sessions."""


@dataclass(frozen=True, slots=True)
class Installation:
    """What the chart made, as found by its labels."""

    namespace: str
    operator: JsonObject
    gateway: JsonObject | None


def find_installation(kube: Kube, namespace: str | None, served: str) -> Installation:
    """The installation in a namespace, or the one of the cluster that serves the namespace ``served``.

    Raises:
        CliError: there is none, or there are several.
    """
    found = kube.list(DEPLOYMENT, namespace, labels=PARLEY).items
    operators = [one for one in found if _component(one) == "operator"]
    if not operators:
        where = f"namespace {namespace}" if namespace else "this cluster"
        raise CliError(f"there is no operator of Parley in {where}", "install the chart parley: README.md")
    if len(operators) > 1:
        operators = serving(kube, operators, served) or operators
    if len(operators) > 1:
        listed = ", ".join(sorted(namespace_of(one) for one in operators))
        raise CliError(
            f"Parley is installed in {listed}",
            "choose one: --system-namespace NAME (PARLEY_SYSTEM_NAMESPACE)",
        )
    operator = operators[0]
    gateways = [
        one for one in found if _component(one) == "gateway" and namespace_of(one) == namespace_of(operator)
    ]
    return Installation(namespace_of(operator), operator, gateways[0] if gateways else None)


def _component(item: JsonObject) -> str:
    return text(item, "metadata", "labels", COMPONENT)


def check_operator_and_gateway(kube: Kube, installation: Installation) -> Iterator[Finding]:
    """Are they ready, and does the leader renew its Lease?"""
    yield _ready("operator", installation.operator)
    yield _leader(kube, installation.namespace)
    if installation.gateway is None:
        yield wrong(
            "gateway", "its Deployment is missing", "install the chart parley again, at the same version"
        )
    else:
        yield _ready("gateway", installation.gateway)


def _ready(what: str, deployment: JsonObject) -> Finding:
    wanted, ready = number(deployment, "spec", "replicas"), number(deployment, "status", "readyReplicas")
    where = f"deployment/{name_of(deployment)} -n {namespace_of(deployment)}"
    version = text(deployment, "metadata", "labels", "app.kubernetes.io/version")
    says = f"{ready} of {wanted} ready, version {version}"
    if wanted == 0:
        return wrong(what, "is scaled to 0", f"kubectl scale {where} --replicas=2")
    if ready == 0:
        return wrong(what, says, f"see why: kubectl describe {where}; kubectl logs {where}")
    return ok(what, says) if ready >= wanted else note(what, says, f"see why: kubectl describe {where}")


def _leader(kube: Kube, namespace: str) -> Finding:
    logs = f"kubectl logs -n {namespace} -l {PARLEY},{COMPONENT}=operator"
    try:
        lease = kube.get(LEASE, namespace, LEASE_NAME)
    except NotFound:
        return wrong("leader", "nobody ever led: there is no Lease", f"see why: {logs}")
    holder, renewed = text(lease, "spec", "holderIdentity"), text(lease, "spec", "renewTime")
    if not holder:
        return wrong("leader", "nobody leads", f"see why: {logs}")
    says = f"{holder.partition('_')[0]} leads, renewed {age(renewed, datetime.now(UTC))} ago"
    at = instant(renewed)
    if at is not None and abs(datetime.now(UTC) - at) < _RENEWED:
        return ok("leader", says)
    # The clock here may be wrong: whether the Lease moves is what counts.
    time.sleep(_LOOK_AGAIN_SECONDS)
    if text(kube.get(LEASE, namespace, LEASE_NAME), "spec", "renewTime") != renewed:
        return note(
            "leader", f"{holder.partition('_')[0]} leads", "this machine's clock is not the cluster's: set it"
        )
    return wrong("leader", f"{says}: it does not renew its Lease", f"see why: {logs}")


def check_versions(installation: Installation) -> Iterator[Finding]:
    """Are operator and gateway of one version, and is it this program's?"""
    own = version("parley")
    found = {
        _component(one): text(one, "metadata", "labels", "app.kubernetes.io/version")
        for one in (installation.operator, installation.gateway)
        if one is not None
    }
    said = ", ".join(f"{component} {one or 'unknown'}" for component, one in found.items())
    others = {one for one in found.values() if one}
    if len(others) > 1:
        yield wrong("versions", f"they differ: {said}", "install the chart parley again, at one version")
    elif others - {own}:
        yield note(
            "versions",
            f"{said}, and this parley is {own}: what one of them does not know it refuses or leaves out",
            "use the parley of the version that is installed, or upgrade with helm: README.md",
        )
    else:
        yield ok("versions", f"{said}, this parley {own}")


def check_policies(kube: Kube) -> Iterator[Finding]:
    """Does the API server sign Replies?"""
    validating = kube.list(VALIDATING_POLICY, labels=PARLEY).items
    try:
        mutating = kube.list(MUTATING_POLICY, labels=PARLEY).items
    except NotFound:
        mutating = None
    again = "install the chart parley again, at the same version"
    if len(validating) < _POLICIES:
        yield wrong(
            "policies", "those that check who replies are missing: anybody may reply in any name", again
        )
    elif mutating is None:
        yield note(
            "policies", "this API server signs no Replies: whoever replies writes spec.by, and is held to it"
        )
    elif len(mutating) < _POLICIES:
        yield wrong(
            "policies", "those that sign Replies are missing: every Reply must write spec.by itself", again
        )
    else:
        yield ok("policies", "the API server signs Replies")


def check_pods(kube: Kube, installation: Installation) -> Iterator[Finding]:
    """Do Parley's own pods keep running?"""
    labels = f"{PARLEY},{COMPONENT} in (operator,gateway)"
    pods = kube.list(POD, installation.namespace, labels=labels).items
    bad = [finding for pod in pods for finding in _pod(pod)]
    yield from bad
    if not bad:
        yield ok("pods", f"{len(pods)} run, none was restarted within the hour")


def _pod(pod: JsonObject) -> Iterator[Finding]:
    name, namespace = name_of(pod), namespace_of(pod)
    for status in objects(pod, "status", "containerStatuses"):
        waiting = mapping(status, "state", "waiting")
        ended = mapping(status, "lastState", "terminated")
        at = instant(text(ended, "finishedAt"))
        if text(waiting, "reason") not in {"", "ContainerCreating", "PodInitializing"}:
            yield wrong(
                "pods",
                f"{name} does not start: {text(waiting, 'reason')}: {text(waiting, 'message')}",
                f"kubectl logs {name} -n {namespace} --previous; kubectl describe pod {name} -n {namespace}",
            )
        elif at is not None and datetime.now(UTC) - at < _RECENT:
            says = f"{name} was restarted {number(status, 'restartCount')} times, last for {text(ended, 'reason')}"
            yield note("pods", says, f"see why: kubectl logs {name} -n {namespace} --previous")
    scheduled = [
        text(one, "message")
        for one in objects(pod, "status", "conditions")
        if text(one, "type") == "PodScheduled" and text(one, "status") == "False"
    ]
    if scheduled and dig(pod, "metadata", "deletionTimestamp") is None:
        yield wrong(
            "pods", f"{name} has no node: {scheduled[0]}", "make room, or ask for less in the chart's values"
        )
