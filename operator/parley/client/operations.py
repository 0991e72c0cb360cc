"""The operations of the gateway's API, each described once; docs/client.md has an example of every one."""

from collections.abc import Mapping, Sequence
from types import NoneType

from pydantic import JsonValue

from parley.api.events import EventList, EventType
from parley.api.messages import MessageAccepted, PostMessage
from parley.api.replies import CreateReply, ReplyView, WaitingList
from parley.api.sessions import (
    ContextView,
    CreateSession,
    SessionList,
    SessionView,
    UpdateContext,
    UpdateSession,
)
from parley.api.tasks import AttemptLog, TaskAuditList, TaskView
from parley.api.transfer import ImportResult
from parley.client.errors import checking
from parley.client.operation import Endpoint, Request, operation
from parley.resources.common import ObjectReference
from parley.resources.runtime import RuntimeMode
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
    body = CreateSession.model_validate(
        {"spec": spec, **({"name": name} if name else {}), **({"labels": dict(labels)} if labels else {})}
    )
    return Request(body=body, key=key)


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
    known = {} if version is None else {"version": version}
    return Request({"name": name}, body=UpdateContext.model_validate({"changes": dict(changes), **known}))


@operation("GET", "/sessions/{name}/tasks", TaskAuditList)
def list_tasks(name: str, *, limit: int | None = None, page_token: str | None = None) -> Request:
    """The Tasks of a session with every attempt of their steps, newest first: the audit trail."""
    return Request({"name": name}, query=[("limit", limit), ("pageToken", page_token)])


@operation("GET", "/tasks/{name}", TaskView)
def get_task(name: str) -> Request:
    """One Task, with its attempts."""
    return Request({"name": name})


@operation("GET", "/tasks/{name}/attempts/{attempt}/log", AttemptLog)
def get_attempt_log(name: str, attempt: int) -> Request:
    """The end of the log that was kept of an attempt's container; ``attempt`` is the id of one of the Task's."""
    return Request({"name": name, "attempt": str(attempt)})


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
    said = {} if message is None else {"message": message}
    body = CreateReply.model_validate(
        {"taskRef": ObjectReference(name=task), "waitID": wait_id, **said, **answer}
    )
    return Request(body=body, key=key)


@operation("GET", "/waiting", WaitingList)
def list_waiting(*, limit: int | None = None, page_token: str | None = None) -> Request:
    """What waits for a person in the namespace."""
    return Request(query=[("limit", limit), ("pageToken", page_token)])


@operation("GET", "/sessions/{name}/events", EventList)
def list_events(
    name: str,
    *,
    after: int | None = None,
    before: int | None = None,
    limit: int | None = None,
    types: Sequence[EventType] | None = None,
) -> Request:
    """Events of a session in order, a page at a time: those ``after`` a sequence, or the last ones ``before`` it."""
    chosen = [("type", one) for one in types or ()]
    return Request({"name": name}, query=[("after", after), ("before", before), ("limit", limit), *chosen])


@operation("POST", "/sessions/{name}/messages", MessageAccepted, body=PostMessage, keyed=True)
def post_message(
    name: str,
    content: str,
    *,
    turn: bool = True,
    user: str | None = None,
    agent: str | None = None,
    runtime: RuntimeMode | None = None,
    key: str | None = None,
) -> Request:
    """Say something in a session; with ``turn`` an agent answers.

    The same ``key`` says it once, however often it is sent.
    """
    return message(name, content, turn=turn, user=user, agent=agent, runtime=runtime, key=key)


STREAM = Endpoint("GET", "/sessions/{name}/stream")
CHAT = Endpoint("POST", "/sessions/{name}/chat", body=PostMessage, keyed=True)
EXPORT = Endpoint("GET", "/sessions/{name}/export")
IMPORT = Endpoint("POST", "/sessions/{name}/import", answer=ImportResult, repeats=True)
"""These stream: each client has a method of its own for them."""


def message(
    name: str,
    content: str,
    *,
    turn: bool,
    user: str | None,
    agent: str | None,
    runtime: RuntimeMode | None,
    key: str | None,
) -> Request:
    """The request that says something in a session; what was not given is left out of its body.

    Raises:
        InvalidRequest: it cannot be said, as when it is empty.
    """
    body: dict[str, JsonValue] = {"content": content}
    if not turn:
        body["turn"] = False
    if user is not None:
        body["user"] = user
    if agent is not None:
        body["agent"] = agent
    if runtime is not None:
        body["runtime"] = {"mode": runtime.value}
    with checking():
        return Request({"name": name}, body=PostMessage.model_validate(body), key=key)
