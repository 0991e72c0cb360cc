"""Kubernetes Events (events.k8s.io/v1) for transitions: what ``kubectl events`` and ``describe`` show."""

import hashlib
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from parley.kube.client import JsonObject, KubeApi
from parley.kube.errors import AlreadyExists, KubeError
from parley.kube.kinds import EVENT, Kind

log = logging.getLogger(__name__)

REPORTING_CONTROLLER = "parley.dev/operator"
# The API server's limits, in bytes.
_MAX_NOTE = 1024
_MAX_INSTANCE = 128
# A name may have 253 characters; a dot and 16 digits follow the object's name.
_MAX_NAME = 236


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of an object's state that people should see.

    Attributes:
        kind: Kind of the object it happened to, with ``namespace``, ``name`` and ``uid``.
        type: Warning where somebody may have to act.
        reason: One of ``parley.resources.reasons``, the same as the condition's.
        note: A sentence; cut at 1,024 bytes.
        key: What tells this transition from others of that object with the same reason, such as step and
            attempt number; posted again, by this leader or the next, the same transition stays one Event.
        action: What was done about the object.
    """

    kind: Kind
    namespace: str
    name: str
    uid: str
    type: Literal["Normal", "Warning"]
    reason: str
    note: str
    key: str = ""
    action: str = "Reconcile"


def event_body(transition: Transition, *, instance: str, now: datetime) -> JsonObject:
    """The Event for a transition; ``instance`` is the reporting pod's name, ``now`` is aware of its zone."""
    identity = f"{transition.uid}/{transition.reason}/{transition.key}"
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return {
        "metadata": {"name": f"{transition.name[:_MAX_NAME].rstrip('-.')}.{digest}"},
        "eventTime": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "type": transition.type,
        "reason": transition.reason,
        "action": transition.action,
        "note": _cut(transition.note, _MAX_NOTE),
        "regarding": {
            "apiVersion": transition.kind.api_version,
            "kind": transition.kind.kind,
            "namespace": transition.namespace,
            "name": transition.name,
            "uid": transition.uid,
        },
        "reportingController": REPORTING_CONTROLLER,
        "reportingInstance": _cut(instance, _MAX_INSTANCE),
    }


async def post_event(kube: KubeApi, transition: Transition, *, instance: str) -> None:
    """Post the Event. A refusal is logged and forgotten: Events inform, nothing rests on them."""
    body = event_body(transition, instance=instance, now=datetime.now(UTC))
    try:
        await kube.create(EVENT, transition.namespace, body)
    except AlreadyExists:
        return
    except KubeError as error:
        title = f"{transition.kind.kind} {transition.namespace}/{transition.name}"
        log.warning("no Event %s for %s: %s", transition.reason, title, error)


def _cut(text: str, limit: int) -> str:
    encoded = text.encode()
    if len(encoded) <= limit:
        return text
    return encoded[: limit - 3].decode(errors="ignore") + "…"
