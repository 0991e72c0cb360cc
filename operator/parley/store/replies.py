"""What people answer, and what happens when nobody does."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pydantic import JsonValue

from parley.protocol.messages import EventDraft
from parley.resources.reasons import Reason
from parley.store.ending import wake
from parley.store.errors import ResultTooLarge
from parley.store.events import Origin, append
from parley.store.leader import Fence, leading
from parley.store.locks import lock_live_task, lock_session_of_task, lock_task
from parley.store.pool import Connection
from parley.store.records import ReplyVerdict, WaitKind, WaitState
from parley.store.rows import encode, encode_limited, execute, fetch_one, fetch_value

STORED = "SELECT accepted, why, coalesce(verdict, '') AS message FROM replies WHERE uid = %(uid)s"
TASK = "SELECT name, ended_at IS NULL AND gone_since IS NULL AS open FROM tasks WHERE uid = %(task_uid)s"
# A suspended task's deadlines stand still: an answer comes in time until it goes on.
WAIT = """
SELECT t.name AS task, w.step, w.item, w.round, w.call, w.kind, w.body, w.state, w.deadline, r.by AS answered_by,
       coalesce(w.deadline <= coalesce(t.suspended_since, now()), false) AS late,
       to_char(now(), 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS now
FROM waits w JOIN tasks t ON t.uid = w.task_uid LEFT JOIN replies r ON r.wait_id = w.id AND r.accepted
WHERE w.id = %(wait_id)s AND w.task_uid = %(task_uid)s
FOR NO KEY UPDATE OF w
"""
STORE_REPLY = """
INSERT INTO replies (uid, task_uid, wait_id, accepted, why, verdict, body, by)
VALUES (%(uid)s, %(task_uid)s, %(wait_id)s, %(accepted)s, %(why)s, %(verdict)s, %(body)s::json, %(by)s)
"""
END_WAIT = "UPDATE waits SET state = %(state)s, ended_at = now() WHERE id = %(wait_id)s"
END_STEP = """
UPDATE steps SET state = %(state)s, reason = %(reason)s, message = %(message)s, ended_at = now()
WHERE task_uid = %(task_uid)s AND step = %(step)s AND state = 'Entered'
"""
STORE_OUTPUT = """
INSERT INTO outputs (task_uid, step, value) VALUES (%(task_uid)s, %(step)s, %(output)s::json)
"""
ASKED_BY = """
SELECT t.name, t.ended_at IS NULL AND t.gone_since IS NULL AS open, t.gone_since IS NOT NULL AS gone
FROM waits w JOIN tasks t ON t.uid = w.task_uid
WHERE w.id = %(wait_id)s AND w.kind IN ('Question', 'Approval')
  AND t.cluster = %(cluster)s AND t.namespace = %(namespace)s
"""
TASK_OF_WAIT = "SELECT task_uid FROM waits WHERE id = %(wait_id)s"


@dataclass(frozen=True, slots=True)
class _Stored:
    accepted: bool
    why: str | None
    message: str

    @property
    def verdict(self) -> ReplyVerdict:
        """As whoever asks is told."""
        return ReplyVerdict(self.accepted, Reason(self.why) if self.why else None, self.message)


@dataclass(frozen=True, slots=True)
class _Task:
    name: str
    open: bool
    gone: bool = False


@dataclass(frozen=True, slots=True)
class _Wait:
    task: str
    step: str
    item: int
    round: int
    call: int
    kind: WaitKind
    body: dict[str, JsonValue]
    state: WaitState
    deadline: datetime | None
    answered_by: str | None
    late: bool
    now: str


FOR_PEOPLE: frozenset[WaitKind] = frozenset({"Question", "Approval"})
"""What people answer; the leader answers for containers and tasks."""
ACCEPTED = ReplyVerdict(accepted=True, why=None, message="")


async def answer_wait(
    conn: Connection,
    fence: Fence,
    *,
    reply_uid: str,
    task_uid: str,
    wait_id: str,
    body: Mapping[str, JsonValue],
    by: str,
) -> ReplyVerdict:
    """Take a Reply to what a task waits for. The same ``reply_uid`` gets the same verdict again, for good.

    ``body`` has ``choice`` or ``value``, and perhaps ``message``. The caller has checked a value against the wait's
    schema. Accepted: a Question's step has Succeeded with ``{choice|value, by, message, at}``; an Approval decides on
    its call. The task's session, if it has one, gets a ``reply`` event.
    """
    try:
        encode_limited(dict(body), "The reply")
    except ResultTooLarge as error:
        return ReplyVerdict(accepted=False, why=Reason.RESULT_TOO_LARGE, message=str(error))
    which = {"uid": reply_uid, "task_uid": task_uid, "wait_id": _uuid(wait_id)}
    async with leading(conn, fence):
        session_uid = await lock_session_of_task(conn, task_uid)
        known = await lock_task(conn, task_uid)
        stored = await fetch_one(conn, _Stored, STORED, which)
        if stored is not None:
            return stored.verdict
        task = await fetch_one(conn, _Task, TASK, which) if known else None
        if task is None:
            return _refusal(Reason.NOT_WAITING, "the task waits for no answer")
        wait = await fetch_one(conn, _Wait, WAIT, which)
        verdict = _judge(task, wait, body)
        reply = {
            "wait_id": which["wait_id"] if wait else None,
            "accepted": verdict.accepted,
            "why": verdict.why,
            "verdict": verdict.message,
            "body": encode(dict(body)),
            "by": by,
        }
        await execute(conn, STORE_REPLY, which | reply)
        if wait is None or not verdict.accepted:
            return verdict
        await execute(conn, END_WAIT, which | {"state": "Answered"})
        answer = _answer(body) | {"by": by, "message": body.get("message") or ""}
        if wait.kind == "Question":
            await _succeed(conn, task_uid, wait, answer)
        await _tell(conn, session_uid, task_uid, wait, answer)
        await wake(conn, task_uid)
        return verdict


async def verdict_without_task(
    conn: Connection, fence: Fence, *, reply_uid: str, namespace: str, task: str, wait_id: str
) -> ReplyVerdict | None:
    """Return what became of a Reply whose task is not there, None while nobody can know.

    An id exists once, so one that a task has asked which is gone, or of another name, is answered by nobody any more.
    """
    which = {"uid": reply_uid, "wait_id": _uuid(wait_id), "cluster": fence.cluster, "namespace": namespace}
    async with leading(conn, fence):
        stored = await fetch_one(conn, _Stored, STORED, which)
        if stored is not None:
            return stored.verdict
        asked = await fetch_one(conn, _Task, ASKED_BY, which)
    if asked is None or (asked.name == task and not asked.gone):
        return None
    if asked.name != task:
        return _refusal(Reason.NOT_WAITING, f"spec.waitID is of Task {asked.name}, not of {task}")
    return _refusal(Reason.NOT_WAITING, f"Task {task}, which asked this, is gone")


async def _tell(
    conn: Connection, session_uid: str | None, task_uid: str, wait: _Wait, answer: Mapping[str, JsonValue]
) -> None:
    """Append a ``reply`` event: who answered what; of an approval also for which tool, and for which call's ``id``."""
    if session_uid is None:
        return
    origin = Origin(session_uid, None, task_uid, wait.task, wait.step, None, wait.item)
    asked = {name: wait.body[name] for name in ("question", "tool") if name in wait.body}
    if wait.kind == "Approval":
        asked["id"] = f"{wait.step}/{wait.item}/{wait.round}/{wait.call}"
    await append(conn, origin, [EventDraft(type="reply", content=asked | dict(answer))])


def _judge(task: _Task, wait: _Wait | None, body: Mapping[str, JsonValue]) -> ReplyVerdict:
    """Decide on a reply."""
    if wait is None or wait.kind not in FOR_PEOPLE:
        message = f"Task {task.name} has never asked this: copy waitID from its status.waiting"
        return _refusal(Reason.NOT_WAITING, message)
    if wait.state == "Answered":
        return _refusal(
            Reason.ALREADY_ANSWERED, f"{wait.answered_by or 'somebody'} has answered this already"
        )
    if wait.state == "Expired" or (wait.state == "Open" and wait.late):
        due = f"{wait.deadline:%Y-%m-%dT%H:%M:%SZ}" if wait.deadline else "earlier"
        return _refusal(Reason.TOO_LATE, f"the answer was due at {due}")
    if wait.state == "Withdrawn" or not task.open:
        return _refusal(Reason.NOT_WAITING, f"Task {task.name} does not ask this any more")
    choices = wait.body.get("choices")
    choice = body.get("choice")
    if isinstance(choices, list):
        if choice not in choices:
            offered = ", ".join(str(offer) for offer in choices)
            said = "spec.choice is missing" if choice is None else f"spec.choice {choice} is unknown"
            return _refusal(Reason.UNKNOWN_CHOICE, f"{said}: it must be one of {offered}")
    elif choice is not None:
        return _refusal(Reason.UNKNOWN_CHOICE, "this question has no choices: answer it with spec.value")
    return ACCEPTED


def _refusal(why: Reason, message: str) -> ReplyVerdict:
    return ReplyVerdict(accepted=False, why=why, message=message)


def _answer(body: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the choice, or else the value, under its name."""
    if body.get("choice") is not None:
        return {"choice": body["choice"]}
    return {"value": body.get("value")}


async def _succeed(conn: Connection, task_uid: str, wait: _Wait, answer: Mapping[str, JsonValue]) -> None:
    step: dict[str, object] = {"task_uid": task_uid, "step": wait.step}
    await execute(conn, END_STEP, step | {"state": "Succeeded", "reason": Reason.SUCCEEDED, "message": ""})
    await execute(conn, STORE_OUTPUT, step | {"output": encode(dict(answer) | {"at": wait.now})})


async def expire_wait(
    conn: Connection, fence: Fence, wait_id: str, output: JsonValue = None, *, has_default: bool
) -> bool:
    """End a wait whose deadline has passed.

    A Question's step has ``output`` as its choice or value, else it Failed, WaitTimeout. An Approval's call is
    decided by what its tool says (``output`` counts for nothing), with a ``reply`` event by nobody.

    Returns:
        Whether this call ended it. False: it was answered, its deadline has moved, or its task is suspended or ended.

    Raises:
        ResultTooLarge: the default is over 1 MiB as JSON; nothing was written.
    """
    encode_limited(output, "The default")
    identity = _uuid(wait_id)
    async with leading(conn, fence):
        task_uid = await fetch_value(conn, str, TASK_OF_WAIT, {"wait_id": identity})
        if task_uid is None:
            return False
        session_uid = await lock_session_of_task(conn, task_uid)
        if not await lock_live_task(conn, task_uid):
            return False
        which = {"task_uid": task_uid, "wait_id": identity}
        wait = await fetch_one(conn, _Wait, WAIT, which)
        if wait is None or wait.kind not in FOR_PEOPLE or wait.state != "Open" or not wait.late:
            return False
        await execute(conn, END_WAIT, which | {"state": "Expired"})
        if wait.kind == "Approval":
            choice = "approve" if wait.body.get("onTimeout") == "Approve" else "reject"
            decided: dict[str, JsonValue] = {"choice": choice, "by": None, "message": _nobody(wait)}
            await _tell(conn, session_uid, task_uid, wait, decided)
            await wake(conn, task_uid)
        elif has_default:
            name = "choice" if isinstance(wait.body.get("choices"), list) else "value"
            await _succeed(conn, task_uid, wait, {name: output, "by": None, "message": ""})
        else:
            failed = {"state": "Failed", "reason": Reason.WAIT_TIMEOUT, "message": _nobody(wait)}
            await execute(conn, END_STEP, which | failed | {"step": wait.step})
        return True


def _nobody(wait: _Wait) -> str:
    return f"nobody answered by {wait.deadline:%Y-%m-%dT%H:%M:%SZ}"


def _uuid(wait_id: str) -> UUID | None:
    """Return the id of a wait, None for what cannot be one."""
    try:
        return UUID(wait_id)
    except ValueError:
        return None
