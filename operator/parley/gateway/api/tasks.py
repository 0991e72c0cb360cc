"""Tasks with their attempts: the audit trail, also of Tasks whose objects are gone."""

from collections.abc import Sequence
from typing import Annotated, cast

from fastapi import Path, Query

from parley.api.tasks import (
    DEFAULT_TASK_PAGE,
    MAX_TASK_PAGE,
    AttemptLog,
    AttemptView,
    TaskAudit,
    TaskAuditList,
    TaskView,
)
from parley.gateway.access.dependencies import (
    NamespaceAccess,
    ObjectName,
    PeopleOf,
    SessionAccess,
    Store,
    namespace_access,
    session_access,
)
from parley.gateway.access.people import People
from parley.gateway.access.refusal import not_found
from parley.gateway.access.route import CONFLICT, people_router
from parley.gateway.api.ownership import require_user
from parley.gateway.api.pages import PageTokenQuery, read_position, write_position
from parley.gateway.api.views import metadata_of, spec_of, status_of
from parley.kube.client import JsonObject
from parley.kube.kinds import TASK
from parley.resources.common import Usage
from parley.resources.task import TaskSpec
from parley.resources.task_status import TaskStatus
from parley.store import audit, reading

AttemptId = Annotated[
    int, Path(ge=1, le=2**63 - 1, description="id of one of the attempts that the Task is shown with")
]

router = people_router()


@router.get(
    "/sessions/{name}/tasks",
    operation_id="listTasks",
    response_model_exclude_none=True,
    responses=CONFLICT,
)
async def list_tasks(
    access: Annotated[SessionAccess, session_access("list", resource="tasks")],
    backend: Store,
    limit: Annotated[int, Query(ge=1, le=MAX_TASK_PAGE)] = DEFAULT_TASK_PAGE,
    page_token: PageTokenQuery = None,
) -> TaskAuditList:
    """List the Session's Tasks with all that ran of them, newest first."""
    after = read_position(page_token, {"session": access.uid})
    async with backend.store() as conn:
        page = await audit.session_tasks(conn, access.uid, limit=limit, after=after)
    return TaskAuditList(
        items=[_audit(task, page.attempts.get(task.uid, [])) for task in page.tasks],
        next_page_token=write_position(page.next, {"session": access.uid}) if page.next else None,
    )


@router.get(
    "/tasks/{name}",
    operation_id="getTask",
    response_model_exclude_unset=True,
    response_model_exclude_none=True,
)
async def get_task(
    name: ObjectName,
    access: Annotated[NamespaceAccess, namespace_access("get", "tasks")],
    people: PeopleOf,
    backend: Store,
) -> TaskView:
    """Read a Task, with all that ran of it."""
    body = await _visible(people, access, name)
    uid = _uid(body)
    async with backend.store() as conn:
        attempts = (await audit.task_attempts(conn, [uid]))[uid]
    return TaskView(
        metadata=metadata_of(body),
        spec=spec_of(TaskSpec, body),
        status=status_of(TaskStatus, body),
        attempts=[_attempt(one) for one in attempts],
        attempts_cut=any(one.cut for one in attempts),
    )


@router.get(
    "/tasks/{name}/attempts/{attempt}/log", operation_id="getAttemptLog", response_model_exclude_none=True
)
async def get_attempt_log(
    name: ObjectName,
    attempt: AttemptId,
    access: Annotated[NamespaceAccess, namespace_access("get", "tasks")],
    people: PeopleOf,
    backend: Store,
) -> AttemptLog:
    """Read the end of the log that was kept of an attempt of a Task."""
    uid = _uid(await _visible(people, access, name))
    async with backend.store() as conn:
        made = (await audit.task_attempts(conn, [uid]))[uid]
        if attempt not in {one.id for one in made}:
            raise not_found(f"Task {name}: attempt", access.namespace, str(attempt))
        return AttemptLog(id=attempt, log=await reading.load_log(conn, attempt))


async def _visible(people: People, access: NamespaceAccess, name: str) -> JsonObject:
    """Return a Task that is there and that the caller may see."""
    body = await people.kube.get(TASK, access.namespace, name)
    if body is None:
        raise not_found("Task", access.namespace, name)
    await require_user(people, access, body)
    return body


def _uid(task: JsonObject) -> str:
    return str(cast("JsonObject", task["metadata"])["uid"])


def _audit(task: audit.TaskAudit, attempts: Sequence[audit.AttemptAudit]) -> TaskAudit:
    return TaskAudit(
        name=task.name,
        uid=task.uid,
        created_at=task.created_at,
        gone_since=task.gone_since,
        ended_at=task.ended_at,
        phase=task.phase,
        reason=task.reason,
        message=task.message,
        parent=task.parent_uid,
        usage=Usage(input_tokens=task.input_tokens, output_tokens=task.output_tokens),
        attempts=[_attempt(one) for one in attempts],
        attempts_cut=any(one.cut for one in attempts),
    )


def _attempt(one: audit.AttemptAudit) -> AttemptView:
    return AttemptView(
        id=one.id,
        step=one.step,
        item=one.item if one.item >= 0 else None,
        number=one.number,
        cause=one.cause,
        state=one.state,
        runtime=one.runtime,
        job=one.job,
        reason=one.reason,
        message=one.message,
        exit_code=one.exit_code,
        created_at=one.created_at,
        taken_at=one.taken_at,
        ended_at=one.ended_at,
        usage=Usage(input_tokens=one.input_tokens, output_tokens=one.output_tokens),
    )
