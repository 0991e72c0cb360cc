"""The Task of a posted message: the gateway makes it, and the operator where the gateway could not."""

import hashlib
from collections.abc import Mapping

from pydantic import JsonValue

from parley.resources.common import API_VERSION

POSTED_LABEL = "parley.dev/posted"
"""``"true"`` on a Task that was made for a message which is in its Session already."""
_HASH_LENGTH = 12


def posted_task_name(session_uid: str, key: str) -> str:
    """Return the name of the Task of a message, which follows from its session and its idempotency key."""
    digest = hashlib.sha256(f"{session_uid}/{key}".encode()).hexdigest()
    return f"m-{digest[:_HASH_LENGTH]}"


def posted_task(
    name: str, namespace: str, session: str, session_uid: str, spec: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """Build the Task of a message: it goes with its Session, which does not control it."""
    owner: dict[str, JsonValue] = {
        "apiVersion": API_VERSION,
        "kind": "Session",
        "name": session,
        "uid": session_uid,
    }
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {POSTED_LABEL: "true"},
            "ownerReferences": [owner],
        },
        "spec": dict(spec),
    }


def is_posted_task(body: Mapping[str, JsonValue], session_uid: str) -> bool:
    """Tell whether an object is a Task that was made for a message of this session."""
    metadata = body.get("metadata")
    if not isinstance(metadata, dict):
        return False
    labels, owners = metadata.get("labels"), metadata.get("ownerReferences")
    listed = owners if isinstance(owners, list) else []
    return (
        isinstance(labels, dict)
        and labels.get(POSTED_LABEL) == "true"
        and any(isinstance(each, dict) and each.get("uid") == session_uid for each in listed)
    )
