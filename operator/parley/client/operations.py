"""The operations of the gateway's API, each described once; docs/client.md has an example of every one."""

from collections.abc import Mapping, Sequence
from types import NoneType

from pydantic import JsonValue

from parley.api.replies import CreateReply, ReplyView, WaitingList
from parley.api.sessions import (
    ContextView,
    CreateSession,
    SessionList,
    SessionView,
    UpdateContext,
    UpdateSession,
)
from parley.api.tasks import TaskAuditList, TaskView
from parley.client.operation import Request, operation
from parley.resources.common import ObjectReference
from parley.resources.session import SessionSpec


@operation("GET", "/sessions", SessionList)
def list_sessions(
    *,
    label_selector: str | None = None,
    metadata: Mapping[str, str] | None = None,
    state: str | None = None,
    user: str | None = None,
    limit: int | None = None,
    page_token: str | None = None,
) -> Request:
    """Sessions that the caller may see, a page at a time; ``next_page_token`` asks for the next one."""
    chosen = [("metadata", f"{key}={value}") for key, value in (metadata or {}).items()]
    return Request(
        query=[
            ("labelSelector", label_selector),
            *chosen,
            ("state", state),
            ("user", user),
            ("limit", limit),
            ("pageToken", page_token),
        ]
    )


@operation("POST", "/sessions", SessionView, body=CreateSession, keyed=True)
def create_session(
    spec: SessionSpec,
    *,
    name: str | None = None,
    labels: Mapping[str, str] | None = None,
    key: str | None = None,
) -> Request:
    """Begin a conversation. The same ``key`` gives the same session, however often it is sent."""
    return Request(body=CreateSession(name=name, labels=dict(labels or {}), spec=spec), key=key)


@operation("GET", "/sessions/{name}", SessionView)
def get_session(name: str) -> Request:
    """One session, as Kubernetes holds it."""
    return Request({"name": name})


@operation("PATCH", "/sessions/{name}", SessionView, body=UpdateSession)
def update_session(name: str, changes: UpdateSession) -> Request:
    """Change what may be changed of a session: its state, labels, metadata, situation, limits."""
    return Request({"name": name}, body=changes)


@operation("DELETE", "/sessions/{name}", NoneType)
def delete_session(name: str) -> Request:
    """Delete a session; what was said is erased when its retention is over."""
    return Request({"name": name})


@operation("GET", "/sessions/{name}/context", ContextView)
def get_context(name: str) -> Request:
    """What a session knows, and the version of it."""
    return Request({"name": name})


@operation("PATCH", "/sessions/{name}/context", ContextView, body=UpdateContext)
def update_context(name: str, changes: Mapping[str, JsonValue], *, version: int | None = None) -> Request:
    """Change keys of a session's context; None removes one.

    With ``version`` it is refused (409) when a key to be changed became something else since.
    """
    return Request({"name": name}, body=UpdateContext(changes=dict(changes), version=version))


@operation("GET", "/sessions/{name}/tasks", TaskAuditList)
def list_tasks(name: str, *, limit: int | None = None, page_token: str | None = None) -> Request:
    """The Tasks of a session with every attempt of their steps, newest first: the audit trail."""
    return Request({"name": name}, query=[("limit", limit), ("pageToken", page_token)])


@operation("GET", "/tasks/{name}", TaskView)
def get_task(name: str) -> Request:
    """One Task, with its attempts."""
    return Request({"name": name})


@operation("POST", "/replies", ReplyView, body=CreateReply, keyed=True)
def create_reply(
    task: str,
    wait_id: str,
    *,
    choice: str | None = None,
    value: JsonValue = None,
    message: str | None = None,
    key: str | None = None,
) -> Request:
    """Answer what a Task asks, with a ``choice`` or, where there are none, with a ``value``."""
    answer = {"choice": choice} if choice is not None else {"value": value}
    body = CreateReply.model_validate(
        {"taskRef": ObjectReference(name=task), "waitID": wait_id, "message": message, **answer}
    )
    return Request(body=body, key=key)


@operation("GET", "/waiting", WaitingList)
def list_waiting(*, limit: int | None = None, page_token: str | None = None) -> Request:
    """What waits for a person in the namespace."""
    return Request(query=[("limit", limit), ("pageToken", page_token)])


def repeated(name: str, values: Sequence[str] | None) -> list[tuple[str, str | int | None]]:
    """A query parameter that may stand there several times."""
    return [(name, value) for value in values or ()]
