"""Tasks that tool calls queue: made once for each call, on their own from then on.

The row comes first, then the object, then the answer: what a crash leaves undone is found by the row. Such a Task
belongs to the Session, whose model is told of its end, or else to the Task that called; neither controls it.
"""

from pydantic import JsonValue

from parley.controller.call_requests import Asked, Call, queued_inputs, queued_spec, read_call
from parley.controller.context import Context
from parley.controller.family import FAMILY_LIMITS
from parley.controller.resource import Resource
from parley.controller.sights import Sights
from parley.controller.task_under_work import TaskUnderWork
from parley.controller.telling import tell_of_task
from parley.engine.names import queued_name
from parley.engine.state import Wait
from parley.kube.client import JsonObject
from parley.kube.errors import AlreadyExists, Forbidden, Invalid, KubeUnavailable
from parley.kube.kinds import SESSION, TASK, Kind
from parley.resources.children import bound_to
from parley.resources.reasons import Reason
from parley.resources.task_template import TaskTemplateSpec
from parley.resources.tools import TaskTool
from parley.store.calls import call_refused
from parley.store.queued import queue_task, task_queued
from parley.store.records import NotGranted
from parley.templates.errors import TemplateError

QUEUED_BY_LABEL = "parley.dev/queued-by"
_QUOTA_PAUSE = 10.0


class _RefusedError(Exception):
    """The call cannot be answered with a Task; the model is told why."""


class QueuedTasks:
    """All safe to repeat: a Task's name says which call it is of."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def queue(self, wait: Wait, asked: Asked, task: TaskUnderWork) -> None:
        """Make the Task of a call, or answer the call with why there can be none."""
        context, resource = self._context, task.resource
        name = queued_name(resource.name, resource.uid, wait.step, wait.id)
        async with context.store() as connection:
            granted = await queue_task(connection, context.fence, wait.id, name)
        if isinstance(granted, NotGranted):
            if limit := FAMILY_LIMITS.get(granted.why):
                await self._refuse(wait, task, limit)
            return
        try:
            created = None if granted else await self._existing(name, task)
            created = created or await self._create(name, wait, asked, task)
        except (_RefusedError, TemplateError) as error:
            await self._refuse(wait, task, str(error))
            return
        async with context.store() as connection:
            await task_queued(connection, context.fence, wait.id)
        # As the watch does it, for which this is no news then.
        Sights(context).see_resource(TASK, Resource.from_object(created))
        note = f"tool {wait.call} of step {wait.step} queued Task {name}"
        tell_of_task(context, resource, Reason.QUEUED, note, key=name)

    async def _create(self, name: str, wait: Wait, asked: Asked, task: TaskUnderWork) -> JsonObject:
        namespace, call = task.resource.namespace, read_call(asked, wait)
        if call.tool.task is None:
            raise _RefusedError(f"{call.path} queues no Task")
        body = _body(name, await self._spec(call, call.tool.task, task), task)
        try:
            created = await self._context.kube.create(TASK, namespace, body)
        except AlreadyExists:
            existing = await self._existing(name, task)
            if existing is None:
                raise _RefusedError(f"a Task named {name} exists that this call did not make") from None
            return existing
        except Forbidden as error:
            if "exceeded quota" in error.message:
                raise KubeUnavailable(
                    error.status, error.reason, error.message, retry_after=_QUOTA_PAUSE
                ) from error
            raise _RefusedError(error.message) from error
        except Invalid as error:
            raise _RefusedError(error.message) from error
        self._context.echoes.wrote(TASK, created)
        return created

    async def _spec(self, call: Call, queues: TaskTool, task: TaskUnderWork) -> dict[str, JsonValue]:
        """Check what the API server cannot: the template and its inputs. The model can do better at once."""
        context, name = self._context, queues.template_ref.name
        template = context.projection.templates.get(task.resource.namespace, name)
        if template is None:
            raise _RefusedError(f"{call.path}.task: TaskTemplate {name} does not exist in this namespace")
        reading = await context.specs.read(TaskTemplateSpec, template)
        if reading.spec is None or reading.problems:
            raise _RefusedError(f"TaskTemplate {name}: {'; '.join(reading.problems)}")
        inputs = await queued_inputs(context.evaluator, call, queues)
        if reading.spec.input_schema is not None:
            given: dict[str, JsonValue] = {**reading.spec.task.inputs, **inputs}
            problem = await context.evaluator.check(reading.spec.input_schema, given, "inputs")
            if problem is not None:
                raise _RefusedError(f"TaskTemplate {name}: {problem}")
        its_task = template.spec.get("task")
        return queued_spec(
            queues, inputs, bound_to(task.spec), its_task if isinstance(its_task, dict) else {}
        )

    async def _existing(self, name: str, task: TaskUnderWork) -> JsonObject | None:
        """Return the Task that this call has made already."""
        existing = await self._context.kube.get(TASK, task.resource.namespace, name)
        return existing if existing is not None and _belongs_to(existing, _owner(task)[1].uid) else None

    async def _refuse(self, wait: Wait, task: TaskUnderWork, message: str) -> None:
        context = self._context
        async with context.store() as connection:
            await call_refused(connection, context.fence, wait.id, message)
        note = f"tool {wait.call} of step {wait.step} queued no Task: {message}"
        tell_of_task(context, task.resource, Reason.TOOL_ERROR, note, key=wait.id, warning=True)


def _owner(task: TaskUnderWork) -> tuple[Kind, Resource]:
    return (SESSION, task.session) if task.session is not None else (TASK, task.resource)


def _belongs_to(body: JsonObject, uid: str) -> bool:
    metadata = body["metadata"]
    references = metadata.get("ownerReferences") if isinstance(metadata, dict) else None
    listed = references if isinstance(references, list) else []
    return any(isinstance(each, dict) and each.get("uid") == uid for each in listed)


def _body(name: str, spec: dict[str, JsonValue], task: TaskUnderWork) -> JsonObject:
    kind, owner = _owner(task)
    return {
        "metadata": {
            "name": name,
            "namespace": task.resource.namespace,
            "labels": {QUEUED_BY_LABEL: task.resource.name},
            # Not the controller, and nothing waits for this Task: it goes with its owner, no more.
            "ownerReferences": [
                {"apiVersion": kind.api_version, "kind": kind.kind, "name": owner.name, "uid": owner.uid}
            ],
        },
        "spec": spec,
    }
