"""Whose a Task is: its Session's people's."""

from typing import cast

from parley.gateway.access.dependencies import NamespaceAccess
from parley.gateway.access.people import People
from parley.gateway.access.refusal import Refusal, not_found
from parley.gateway.access.sessions import SessionObject
from parley.kube.client import JsonObject
from parley.kube.kinds import SESSION
from parley.resources.common import read_instant


def session_of(task: JsonObject) -> str | None:
    """Return the name of a Task's Session."""
    spec = cast("JsonObject", task.get("spec") or {})
    reference = spec.get("sessionRef")
    name = reference.get("name") if isinstance(reference, dict) else None
    return name if isinstance(name, str) else None


async def is_of_user(people: People, access: NamespaceAccess, task: JsonObject) -> bool:
    """Tell whether a caller who is limited to one user's Sessions may see a Task; one who is not may."""
    if access.only_user is None:
        return True
    name = session_of(task)
    try:
        session = None if name is None else await people.sessions.read(access.namespace, name)
    except Refusal:
        # Nobody can tell whose a Session is that cannot be read.
        return False
    return session is not None and access.only_user in session.user_ids and _is_of(task, session)


def _is_of(task: JsonObject, session: SessionObject) -> bool:
    """Tell a Task of this Session from one of an earlier Session that had its name."""
    metadata = cast("JsonObject", task["metadata"])
    owners = cast("list[JsonObject]", metadata.get("ownerReferences") or [])
    owner = next((one for one in owners if one.get("kind") == SESSION.kind), None)
    if owner is not None:
        return owner.get("uid") == session.uid
    status = cast("JsonObject", task.get("status") or {})
    began = status.get("startTime")
    if began is None and not status.get("completionTime"):
        # It waits for the Session of this name, whichever that is.
        return True
    since = read_instant(str(began or metadata.get("creationTimestamp")))
    return since is not None and since >= session.created


async def require_user(people: People, access: NamespaceAccess, task: JsonObject) -> None:
    """Let a Task pass that the caller may see.

    Raises:
        Refusal: it is of a Session that is not the user's, or of none (404).
    """
    if not await is_of_user(people, access, task):
        name = str(cast("JsonObject", task["metadata"])["name"])
        raise not_found("Task", access.namespace, name)
