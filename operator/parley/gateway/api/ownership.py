"""Whose a Task is: its Session's people's."""

from typing import cast

from parley.gateway.access.dependencies import NamespaceAccess
from parley.gateway.access.people import People
from parley.gateway.access.refusal import not_found
from parley.kube.client import JsonObject


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
    session = None if name is None else await people.sessions.read(access.namespace, name)
    return session is not None and access.only_user in session.user_ids


async def require_user(people: People, access: NamespaceAccess, task: JsonObject) -> None:
    """Let a Task pass that the caller may see.

    Raises:
        Refusal: it is of a Session that is not the user's, or of none (404).
    """
    if not await is_of_user(people, access, task):
        name = str(cast("JsonObject", task["metadata"])["name"])
        raise not_found("Task", access.namespace, name)
