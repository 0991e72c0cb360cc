"""Child Tasks: objects that a ``task`` step makes, and their ends, which become its outcome."""

from collections.abc import Mapping
from typing import cast

from pydantic import JsonValue

from parley.controller.child_requests import child_spec
from parley.controller.context import Context
from parley.controller.pod_view import is_controlled_by
from parley.controller.resource import Resource
from parley.controller.sights import Sights
from parley.controller.task_under_work import TaskUnderWork
from parley.engine.actions import CreateChild, FinishChild
from parley.kube.client import JsonObject
from parley.kube.errors import AlreadyExists, Forbidden, Invalid, KubeUnavailable
from parley.kube.kinds import TASK
from parley.store import attempts, children

PARENT_LABEL = "parley.dev/parent"
_QUOTA_PAUSE = 10.0
# A template that comes later may name a session or an agent: what the child inherits is decided then.
_YET_UNKNOWN: Mapping[str, JsonValue] = {"sessionRef": None, "agentRef": None}


class ChildActions:
    """All safe to repeat: a child's name says which attempt it is of."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def create(self, action: CreateChild, task: TaskUnderWork) -> None:
        """Make the child Task of an open attempt."""
        context, resource, name = self._context, task.resource, action.attempt.job
        request = task.requests.get(action.attempt.id)
        if request is None:
            async with context.store() as connection:
                request = await attempts.load_request(connection, action.attempt.id)
        body = _child(name, child_spec(request, self._template_task(request, task)), resource)
        try:
            created = await context.kube.create(TASK, resource.namespace, body)
            context.echoes.wrote(TASK, created)
        except AlreadyExists:
            existing = await context.kube.get(TASK, resource.namespace, name)
            if existing is None:
                return
            if not is_controlled_by(existing, resource.uid):
                task.child_refusals[name] = f"a Task named {name} exists that is not this task's: delete it"
                return
            created = existing
        except Forbidden as error:
            if "exceeded quota" in error.message:
                raise KubeUnavailable(
                    error.status, error.reason, error.message, retry_after=_QUOTA_PAUSE
                ) from error
            task.child_refusals[name] = f"{_path(action)}: {error.message}"
            return
        except Invalid as error:
            task.child_refusals[name] = f"{_path(action)}: {error.message}"
            return
        # As the watch does it, for which this is no news then.
        Sights(context).see_resource(TASK, Resource.from_object(created))

    async def finish(self, action: FinishChild) -> None:
        """Take a child's end over as its attempt's outcome."""
        context = self._context
        async with context.store() as connection:
            await children.finish_child(connection, context.fence, action.attempt.id, action.child.uid)

    def _template_task(
        self, request: Mapping[str, JsonValue], task: TaskUnderWork
    ) -> Mapping[str, JsonValue] | None:
        spec = cast("Mapping[str, JsonValue]", request.get("spec") or {})
        reference = spec.get("templateRef")
        if not isinstance(reference, dict):
            return None
        template = self._context.projection.templates.get(task.resource.namespace, str(reference.get("name")))
        if template is None:
            return _YET_UNKNOWN
        its_task = template.spec.get("task")
        return its_task if isinstance(its_task, dict) else None


def _path(action: CreateChild) -> str:
    return f"spec.steps[{action.index}].task"


def _child(name: str, spec: dict[str, JsonValue], parent: Resource) -> JsonObject:
    return {
        "metadata": {
            "name": name,
            "namespace": parent.namespace,
            "labels": {PARENT_LABEL: parent.name},
            "ownerReferences": [
                {
                    "apiVersion": TASK.api_version,
                    "kind": TASK.kind,
                    "name": parent.name,
                    "uid": parent.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": spec,
    }
