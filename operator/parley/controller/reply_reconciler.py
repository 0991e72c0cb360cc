"""Replies: whether each answers what it was made for. Once that is said, it stands."""

from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import JsonValue

from parley.controller.context import TASK_KEY, Context
from parley.controller.metrics import REPLIES, REPLY_SECONDS
from parley.controller.resource import Resource
from parley.kube.events import Transition
from parley.kube.kinds import REPLY, TASK, Kind
from parley.resources.conditions import (
    ACCEPTED,
    Verdict,
    merge_conditions,
    reply_accepted,
    reply_pending,
    reply_refused,
)
from parley.resources.problems import QUOTE
from parley.resources.reasons import Reason
from parley.resources.reply import ReplySpec, ReplyStatus
from parley.store.records import ReplyVerdict, WaitRecord
from parley.store.replies import answer_wait, verdict_without_task
from parley.store.tasks import load_task

_NO_AUTHOR = (
    "spec.by: this API server does not fill in who replies: create the Reply anew with your own user name in it "
    "(kubectl auth whoami shows it)"
)
_CHANGED = "spec: the Reply was changed after it was made, and nobody can tell who did that: create another one instead"
_DECISIONS = frozenset({Reason.ACCEPTED, Reason.APPROVED, Reason.REJECTED})


@dataclass(frozen=True, slots=True)
class _Question:
    """What a Reply is to answer, as far as it is still open."""

    wait: WaitRecord | None
    asked_for: float = 0.0
    """Seconds since it was asked."""


class ReplyReconciler:
    """Reconciles Replies by name. The store decides, once for each Reply's uid; the status repeats it."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def reconcile(self, namespace: str, name: str) -> None:
        """Take a Reply to what it answers, or say what it waits for."""
        reply = self._context.projection.replies.get(namespace, name)
        if reply is None or reply.deleting or _is_decided(reply):
            return
        reading = await self._context.specs.read(ReplySpec, reply)
        task = self._task(reply)
        if task is not None:
            reply = await self._own(reply, task)
        if reading.spec is None or reading.problems:
            await self._refuse(reply, Reason.INVALID_SPEC, "; ".join(reading.problems))
        elif reply.generation != 1:
            await self._refuse(reply, Reason.INVALID_SPEC, _CHANGED)
        elif not reading.spec.by:
            await self._refuse(reply, Reason.INVALID_SPEC, _NO_AUTHOR)
        elif task is None:
            await self._without_task(reply, reading.spec, reading.spec.by)
        else:
            await self._answer(reply, reading.spec, reading.spec.by, task)
        if _is_decided(self._context.projection.replies.get(namespace, name) or reply):
            self._context.specs.forget(reply)

    def _task(self, reply: Resource) -> Resource | None:
        reference = reply.spec.get("taskRef")
        name = reference.get("name") if isinstance(reference, dict) else None
        task = self._context.projection.tasks.get(reply.namespace, str(name))
        return None if task is None or task.deleting else task

    async def _own(self, reply: Resource, task: Resource) -> Resource:
        """Let the Reply go with its Task."""
        owner: JsonValue = {
            "apiVersion": TASK.api_version,
            "kind": TASK.kind,
            "name": task.name,
            "uid": task.uid,
        }
        body: dict[str, JsonValue] = {"metadata": {"ownerReferences": [owner]}}
        written = await self._context.kube.apply(
            REPLY, reply.namespace, reply.name, body, uid=reply.uid, resource_version=reply.resource_version
        )
        return Resource.from_object(written)

    async def _without_task(self, reply: Resource, spec: ReplySpec, by: str) -> None:
        """Decide on a Reply whose Task is gone; one whose Task may yet come, applied in any order, waits for it."""
        name = spec.task_ref.name
        async with self._context.store() as connection:
            verdict = await verdict_without_task(
                connection,
                self._context.fence,
                reply_uid=reply.uid,
                namespace=reply.namespace,
                task=name,
                wait_id=spec.wait_id,
            )
        if verdict is None:
            missing = f"Task {name} does not exist in this namespace yet"
            await self._show(reply, reply_pending(missing))
        elif verdict.accepted:
            await self._accept(reply, spec, by, None, _Question(None))
        else:
            await self._refuse(reply, verdict.why or Reason.NOT_WAITING, verdict.message)

    async def _answer(self, reply: Resource, spec: ReplySpec, by: str, task: Resource) -> None:
        question = await self._question(task, spec.wait_id)
        verdict = await self._misfit(spec, question.wait) if question.wait is not None else None
        if verdict is None:
            async with self._context.store() as connection:
                verdict = await answer_wait(
                    connection,
                    self._context.fence,
                    reply_uid=reply.uid,
                    task_uid=task.uid,
                    wait_id=spec.wait_id,
                    body=_body(spec),
                    by=by,
                )
        if not verdict.accepted:
            await self._refuse(reply, verdict.why or Reason.NOT_WAITING, verdict.message)
            return
        self._context.wake(TASK_KEY, task.namespace, task.name)
        await self._accept(reply, spec, by, task, question)

    async def _question(self, task: Resource, wait_id: str) -> _Question:
        async with self._context.store() as connection:
            record = await load_task(connection, task.uid)
        for wait in record.waits if record else ():
            if record is not None and wait.id == wait_id:
                return _Question(wait, (record.now - wait.created_at).total_seconds())
        # Answered, expired, withdrawn or never asked: the store knows which.
        return _Question(None)

    async def _misfit(self, spec: ReplySpec, wait: WaitRecord) -> ReplyVerdict | None:
        """Say what is wrong with an answer to an open question; None where it fits."""
        choices, schema = wait.body.get("choices"), wait.body.get("schema")
        if isinstance(choices, list):
            named = ", ".join(str(choice) for choice in choices)
            if spec.choice is None:
                return _refusal(Reason.UNKNOWN_CHOICE, f"spec.choice: the question asks for one of {named}")
            if spec.choice not in choices:
                return _refusal(
                    Reason.UNKNOWN_CHOICE, f"spec.choice: {spec.choice!r} is no choice; choose one of {named}"
                )
        elif spec.choice is not None:
            return _refusal(
                Reason.SCHEMA_MISMATCH,
                "spec.choice: the question has no choices: write the answer into spec.value",
            )
        elif isinstance(schema, dict):
            problem = await self._context.evaluator.check(schema, spec.value, "spec.value")
            if problem is not None:
                hint = f" ({QUOTE})" if isinstance(spec.value, bool) else ""
                return _refusal(Reason.SCHEMA_MISMATCH, f"{problem}{hint}")
        return None

    async def _accept(
        self, reply: Resource, spec: ReplySpec, by: str, task: Resource | None, question: _Question
    ) -> None:
        wait = question.wait
        said, link = f"{by} {_said(spec, wait)}", "in" if _is_approval(wait) else "to"
        if not await self._show(reply, reply_accepted(said)):
            return
        REPLIES.labels(Reason.ACCEPTED).inc()
        step = ""
        if wait is not None:
            REPLY_SECONDS.observe(question.asked_for)
            step = f"{link} step {wait.step} "
        self._tell(REPLY, reply, Reason.ACCEPTED, f"{said} {link} Task {spec.task_ref.name}")
        if task is not None:
            self._tell(TASK, task, _decision(spec, wait), f"{said} {step}(Reply {reply.name})", key=reply.uid)

    async def _refuse(self, reply: Resource, reason: Reason, message: str) -> None:
        if await self._show(reply, reply_refused(reason, message)):
            REPLIES.labels(reason).inc()
            self._tell(REPLY, reply, reason, message)

    def _tell(self, kind: Kind, resource: Resource, reason: Reason, note: str, *, key: str = "") -> None:
        self._context.tell(
            Transition(
                kind=kind,
                namespace=resource.namespace,
                name=resource.name,
                uid=resource.uid,
                type="Normal" if reason in _DECISIONS else "Warning",
                reason=reason,
                note=note,
                key=key,
            )
        )

    async def _show(self, reply: Resource, verdicts: list[Verdict]) -> bool:
        """Write the status; tells whether that is news."""
        previous = ReplyStatus.model_validate(reply.status)
        status = ReplyStatus(
            observed_generation=reply.generation,
            conditions=merge_conditions(
                previous.conditions, verdicts, generation=reply.generation, now=datetime.now(UTC)
            ),
        ).to_json()
        if status == reply.status:
            return False
        written = await self._context.kube.apply_status(
            REPLY, reply.namespace, reply.name, status, resource_version=reply.resource_version
        )
        self._context.echoes.wrote(REPLY, written)
        self._context.projection.replies.see(Resource.from_object(written))
        return True


def _is_decided(reply: Resource) -> bool:
    conditions = ReplyStatus.model_validate(reply.status).conditions
    return any(c.type == ACCEPTED and c.status != "Unknown" for c in conditions)


def _is_approval(wait: WaitRecord | None) -> bool:
    return wait is not None and wait.kind == "Approval"


def _said(spec: ReplySpec, wait: WaitRecord | None) -> str:
    """Say what somebody answered."""
    if wait is not None and _is_approval(wait):
        return f"{'approved' if spec.choice == 'approve' else 'rejected'} the call of {wait.body.get('tool')}"
    return f"replied {spec.choice if spec.choice is not None else 'with a value'}"


def _decision(spec: ReplySpec, wait: WaitRecord | None) -> Reason:
    if not _is_approval(wait):
        return Reason.ACCEPTED
    return Reason.APPROVED if spec.choice == "approve" else Reason.REJECTED


def _refusal(reason: Reason, message: str) -> ReplyVerdict:
    return ReplyVerdict(accepted=False, why=reason, message=message)


def _body(spec: ReplySpec) -> dict[str, JsonValue]:
    answer: dict[str, JsonValue] = {"value": spec.value} if spec.choice is None else {"choice": spec.choice}
    return answer | ({} if spec.message is None else {"message": spec.message})
