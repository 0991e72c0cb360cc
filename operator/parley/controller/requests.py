"""The request of a step's attempt, whatever kind of step it is."""

from collections.abc import Sequence

from pydantic import JsonValue

from parley.controller.child_requests import child_request
from parley.controller.container_requests import container_request
from parley.controller.runner_requests import round_requests, runner_request
from parley.controller.scopes import NO_ITEM, load_item
from parley.controller.stored_values import Stored
from parley.controller.task_under_work import TaskUnderWork
from parley.protocol.request import ProtocolModel
from parley.resources.task import Step
from parley.templates.evaluator import Evaluator


async def build_request(
    evaluator: Evaluator,
    task: TaskUnderWork,
    index: int,
    step: Step,
    stored: Stored,
    *,
    item: int = NO_ITEM,
) -> dict[str, JsonValue]:
    """Build the request of a step's next attempt, for one item where it has a forEach.

    Raises:
        TemplateError: a field that is rendered here could not be; the error names it.
    """
    its = await load_item(stored, step.name, item)
    request: ProtocolModel
    if step.container is not None:
        request = await container_request(evaluator, task, index, step.container, stored, its)
    elif step.task is not None:
        request = await child_request(evaluator, task, index, step.task, stored, its)
    else:
        request = await runner_request(task, index, step, stored, its)
    return request.model_dump(mode="json", by_alias=True)


async def build_round(
    task: TaskUnderWork, index: int, step: Step, stored: Stored, items: Sequence[int]
) -> list[dict[str, JsonValue]]:
    """Build the requests of a round of prompts or calls, in the order of ``items``; all but the item is the same.

    Raises:
        TemplateError: a template of the step can never be rendered.
    """
    return await round_requests(task, index, step, stored, items)
