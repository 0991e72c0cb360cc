"""TaskTemplates: Ready as soon as their spec is sound. What they refer to may be made later."""

from datetime import UTC, datetime

from parley.controller.context import Context
from parley.controller.resource import Resource
from parley.kube.kinds import TASK_TEMPLATE
from parley.resources.conditions import invalid, is_ready, merge_conditions
from parley.resources.reasons import Reason
from parley.resources.task_template import TaskTemplateSpec, TaskTemplateStatus


class TaskTemplateReconciler:
    """Reconciles TaskTemplates by name."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def reconcile(self, namespace: str, name: str) -> None:
        """Write the template's status if it is not what it should be."""
        template = self._context.projection.templates.get(namespace, name)
        if template is None or template.deleting:
            return
        problems = (await self._context.specs.read(TaskTemplateSpec, template)).problems
        verdicts = (
            invalid(Reason.INVALID_SPEC, "; ".join(problems))
            if problems
            else is_ready("Tasks can use the template")
        )
        previous = TaskTemplateStatus.model_validate(template.status)
        status = TaskTemplateStatus(
            observed_generation=template.generation,
            conditions=merge_conditions(
                previous.conditions, verdicts, generation=template.generation, now=datetime.now(UTC)
            ),
        ).to_json()
        if status == template.status:
            return
        written = await self._context.kube.apply_status(
            TASK_TEMPLATE, namespace, name, status, resource_version=template.resource_version
        )
        self._context.echoes.wrote(TASK_TEMPLATE, written)
        self._context.projection.templates.see(Resource.from_object(written))
