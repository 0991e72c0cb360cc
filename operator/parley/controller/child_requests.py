"""Requests of child Tasks, and the Task that is made of one."""

from collections.abc import Mapping

from pydantic import JsonValue

from parley.controller.scopes import Item, load_scope, needed_outputs, sources_in, task_snapshot
from parley.controller.stored_values import Stored
from parley.controller.task_under_work import TaskUnderWork
from parley.protocol.request import TaskRequest
from parley.resources.children import bound_to
from parley.resources.flow import TaskStep
from parley.templates.evaluator import Evaluator
from parley.templates.fields import child_fields


async def child_request(
    evaluator: Evaluator,
    task: TaskUnderWork,
    index: int,
    child: TaskStep,
    stored: Stored,
    item: Item | None,
) -> TaskRequest:
    """Build the request of a task step's attempt.

    Raises:
        TemplateError: its inputs could not be rendered.
    """
    step = task.steps[index]
    fields = child_fields(child, f"spec.steps[{index}]")
    needed = needed_outputs(task, index, sources_in(fields))
    rendered = await evaluator.render(fields, await load_scope(task, stored, [*needed.values()], item))
    spec: dict[str, JsonValue] = {}
    if child.template_ref is not None:
        spec["templateRef"] = child.template_ref.to_json()
    elif child.spec is not None:
        spec = dict(child.spec)
    for inputs in rendered.values():
        given = spec.get("inputs")
        own = given if isinstance(given, dict) else {}
        spec["inputs"] = own | inputs if isinstance(inputs, dict) else own
    return TaskRequest(
        task=task_snapshot(task),
        step=step.name,
        index=None if item is None else item.index,
        spec=spec,
        inherited=bound_to(task.spec),
    )


def child_spec(
    request: Mapping[str, JsonValue], template_task: Mapping[str, JsonValue] | None = None
) -> dict[str, JsonValue]:
    """Return the spec of the child Task that an attempt makes.

    Args:
        request: the attempt's, of kind Task.
        template_task: ``spec.task`` of the TaskTemplate that the child refers to, if it refers to one. The parent's
            session or agent is the child's only where neither the child nor its template names one.
    """
    child = TaskRequest.model_validate(request)
    return with_company(child.spec, child.inherited, template_task)


def with_company(
    spec: Mapping[str, JsonValue],
    inherited: Mapping[str, JsonValue],
    template_task: Mapping[str, JsonValue] | None,
) -> dict[str, JsonValue]:
    """Return a Task's spec with the session, agent and user it inherits, where neither it nor its template has any."""
    named = {*spec, *(template_task or ())}
    return dict(spec) if {"sessionRef", "agentRef"} & named else {**spec, **inherited}
