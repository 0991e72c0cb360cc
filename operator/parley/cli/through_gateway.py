"""Sessions, questions and answers by way of the gateway, in the shape in which the API server has them.

For callers who may ask the gateway only: of their own sessions, for a person they act for, or with no kubeconfig.
"""

import time

from pydantic import JsonValue

from parley.api.replies import ReplyView
from parley.api.sessions import MAX_PAGE, SessionView
from parley.api.tasks import TaskView
from parley.cli.inbox import ACCEPT_SECONDS, Question, refused, undecided
from parley.client import Parley
from parley.client.base import new_key
from parley.kube.client import JsonObject
from parley.kube.kinds import REPLY, SESSION, TASK, Kind


def as_object(kind: Kind, view: SessionView | TaskView) -> JsonObject:
    """An object as the API server would show it, as far as the gateway does."""
    parts = {"metadata", "spec", "status"}
    shown = view.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True, include=parts)
    return {"apiVersion": kind.api_version, "kind": kind.kind, **shown}


def task_of(parley: Parley, name: str) -> JsonObject:
    """A Task that the caller may see."""
    return as_object(TASK, parley.get_task(name))


def session_of(parley: Parley, name: str) -> JsonObject:
    """A Session that the caller may see."""
    return as_object(SESSION, parley.get_session(name))


def sessions(parley: Parley, *, labels: str, phase: str | None) -> list[JsonObject]:
    """The Sessions of the namespace that the caller may see."""
    found: list[JsonObject] = []
    token: str | None = None
    while True:
        page = parley.list_sessions(
            label_selector=labels or None, state=phase, limit=MAX_PAGE, page_token=token
        )
        found += [as_object(SESSION, one) for one in page.items]
        token = page.next_page_token
        if token is None:
            return found


def questions(parley: Parley) -> list[Question]:
    """What waits in the namespace, of Tasks that the caller may see."""
    found: list[Question] = []
    token: str | None = None
    while True:
        page = parley.list_waiting(limit=MAX_PAGE, page_token=token)
        found += [
            Question(
                namespace=one.namespace,
                task=one.task,
                session=one.session or "",
                id=one.wait_id,
                step=one.step,
                question=one.question,
                choices=tuple(one.choices or ()),
                call=one.tool or "",
                arguments=one.arguments or "",
                since=one.since.isoformat(),
                deadline=one.deadline.isoformat() if one.deadline else "",
            )
            for one in page.items
        ]
        token = page.next_page_token
        if token is None:
            return found


def reply(
    parley: Parley, question: Question, *, choice: str | None, value: JsonValue, message: str | None
) -> JsonObject:
    """Make a Reply and wait for what the operator says of it; returns it as far as it is known then.

    Raises:
        CliError: it was refused, or nobody decided within a minute.
    """
    # The same key asks what became of the same Reply; each time the gateway waits for a few seconds.
    key, end = new_key(), time.monotonic() + ACCEPT_SECONDS
    while True:
        made = parley.create_reply(
            question.task, question.id, choice=choice, value=value, message=message, key=key
        )
        if made.accepted is False:
            raise refused(question, made.reason or "", made.message or "")
        if made.accepted:
            return _as_object(made, question, choice=choice, value=value, message=message)
        if time.monotonic() > end:
            raise undecided(question, made.name)


def _as_object(
    made: ReplyView, question: Question, *, choice: str | None, value: JsonValue, message: str | None
) -> JsonObject:
    accepted: dict[str, JsonValue] = {
        "type": "Accepted",
        "status": "True",
        "reason": made.reason or "Accepted",
    }
    spec: dict[str, JsonValue] = {"taskRef": {"name": question.task}, "waitID": question.id}
    spec.update({"choice": choice} if choice is not None else {"value": value})
    if message:
        spec["message"] = message
    return {
        "apiVersion": REPLY.api_version,
        "kind": REPLY.kind,
        "metadata": {"name": made.name, "namespace": question.namespace},
        "spec": spec,
        "status": {"conditions": [accepted]},
    }
