"""What decides a task's flow, rendered in the guarded evaluator: conditions, items, questions, values, ends.

Each function takes the step and its index in the Task. All raise ``TemplateError``, which names the field and fails the
step, and ``EvaluatorUnavailableError``, after which the same call may be made again.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import JsonValue

from parley.controller.scopes import load_scope, needed_outputs, sources_in
from parley.controller.stored_values import Stored
from parley.controller.task_under_work import TaskUnderWork
from parley.resources.common import parse_duration, shorten
from parley.resources.flow import MAX_ITEMS
from parley.resources.task import Step
from parley.templates.errors import TemplateError
from parley.templates.evaluator import Evaluator
from parley.templates.fields import (
    Field,
    fail_fields,
    items_fields,
    on_timeout_fields,
    output_fields,
    question_fields,
    return_fields,
    set_fields,
    sleep_fields,
    when_fields,
)

MAX_QUESTION_CHARACTERS = 16_384
MAX_CONTEXT_BYTES = 64 * 1024
"""Most that one set step may write: every prompt of the session is given the context."""
MAX_FAILURE_BYTES = 1024
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


@dataclass(frozen=True, slots=True)
class Question:
    """What a wait step asks.

    Attributes:
        choices: the answers to choose from; None where any value that fits ``schema`` is one.
        timeout: how long to wait; None for ever.
    """

    question: str
    choices: list[str] | None
    schema: dict[str, JsonValue] | None
    timeout: timedelta | None

    def to_json(self) -> dict[str, JsonValue]:
        """What the store keeps of it, for whoever replies."""
        body: dict[str, JsonValue] = {"question": self.question}
        if self.choices is not None:
            body["choices"] = list(self.choices)
        if self.schema is not None:
            body["schema"] = self.schema
        return body


async def render_when(
    evaluator: Evaluator, task: TaskUnderWork, index: int, step: Step, stored: Stored
) -> bool:
    """Tell whether a step runs; one without ``when`` does."""
    if step.when is None:
        return True
    path, value = await _render(evaluator, task, index, when_fields(step, _path(index)), stored)
    if not isinstance(value, bool):
        raise TemplateError(path, f"must yield true or false, and yields {_shown(value)}")
    return value


async def render_items(
    evaluator: Evaluator, task: TaskUnderWork, index: int, step: Step, stored: Stored
) -> list[JsonValue]:
    """Return the items of a step's forEach."""
    if step.for_each is None:
        raise RuntimeError(f"step {step.name} has no forEach")
    path, value = await _render(evaluator, task, index, items_fields(step, _path(index)), stored)
    if not isinstance(value, list):
        raise TemplateError(path, f"must yield a list, and yields {_shown(value)}")
    if len(value) > MAX_ITEMS:
        raise TemplateError(path, f"yields {len(value)} items; at most {MAX_ITEMS} are allowed")
    return value


async def render_wait(
    evaluator: Evaluator, task: TaskUnderWork, index: int, step: Step, stored: Stored
) -> Question:
    """Return what a wait step asks."""
    if step.wait is None:
        raise RuntimeError(f"step {step.name} asks nobody")
    path, value = await _render(evaluator, task, index, question_fields(step.wait, _path(index)), stored)
    question = str(value)
    if len(question) > MAX_QUESTION_CHARACTERS:
        message = f"the result has {len(question)} characters; at most {MAX_QUESTION_CHARACTERS} are allowed"
        raise TemplateError(path, message)
    if step.wait.on_timeout is not None:
        # To learn that it is no answer when the time is up, after a week perhaps, would be too late.
        await render_on_timeout(evaluator, task, index, step, stored)
    choices = step.wait.choices
    return Question(
        question, None if choices is None else list(choices), step.wait.schema_, step.wait.timeout_or_none()
    )


async def render_on_timeout(
    evaluator: Evaluator, task: TaskUnderWork, index: int, step: Step, stored: Stored
) -> JsonValue:
    """Return the answer of a wait that nobody replied to in time; for a wait that has an ``onTimeout``."""
    if step.wait is None or step.wait.on_timeout is None:
        raise RuntimeError(f"step {step.name} has no answer of its own")
    path, value = await _render(evaluator, task, index, on_timeout_fields(step.wait, _path(index)), stored)
    if step.wait.choices is not None and value not in step.wait.choices:
        choices = ", ".join(step.wait.choices)
        raise TemplateError(path, f"must be one of the choices ({choices}), and is {_shown(value)}")
    if step.wait.schema_ is not None:
        problem = await evaluator.check(step.wait.schema_, value, path)
        if problem is not None:
            raise TemplateError(path, problem.removeprefix(f"{path}: "))
    return value


async def render_set(
    evaluator: Evaluator, task: TaskUnderWork, index: int, step: Step, stored: Stored
) -> dict[str, JsonValue]:
    """Return what a set step writes into the session's context, by key; null removes a key."""
    if step.set is None:
        raise RuntimeError(f"step {step.name} sets nothing")
    path, value = await _render(evaluator, task, index, set_fields(step.set, _path(index)), stored)
    if not isinstance(value, dict):
        raise TypeError(f"{path} is no mapping any more")
    size = len(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
    if size > MAX_CONTEXT_BYTES:
        message = f"the values have {size} bytes as JSON; at most {MAX_CONTEXT_BYTES} are allowed"
        raise TemplateError(path, f"{message}: keep large values in steps' outputs")
    return value


async def render_return(
    evaluator: Evaluator, task: TaskUnderWork, index: int, step: Step, stored: Stored
) -> JsonValue:
    """Return the output with which a return step ends the task."""
    if step.return_ is None:
        raise RuntimeError(f"step {step.name} returns nothing")
    _, value = await _render(evaluator, task, index, return_fields(step.return_, _path(index)), stored)
    return value


async def render_fail(
    evaluator: Evaluator, task: TaskUnderWork, index: int, step: Step, stored: Stored
) -> str:
    """Return the message with which a fail step ends the task, at most 1 KiB."""
    if step.fail is None:
        raise RuntimeError(f"step {step.name} does not fail")
    _, message = await _render(evaluator, task, index, fail_fields(step.fail, _path(index)), stored)
    return shorten(str(message), MAX_FAILURE_BYTES)


async def render_sleep(
    evaluator: Evaluator, task: TaskUnderWork, index: int, step: Step, stored: Stored
) -> timedelta | datetime:
    """Return how long a step sleeps, or until when."""
    if step.sleep is None:
        raise RuntimeError(f"step {step.name} does not sleep")
    if step.sleep.duration is not None:
        return parse_duration(step.sleep.duration)
    path, value = await _render(evaluator, task, index, sleep_fields(step.sleep, _path(index)), stored)
    text = str(value).strip()
    try:
        instant = datetime.fromisoformat(text.upper()) if _INSTANT.fullmatch(text) else None
    except ValueError:
        instant = None
    if instant is None:
        raise TemplateError(
            path, f"must yield an instant such as 2027-01-31T09:00:00Z, and yields {_shown(text)}"
        )
    return instant


async def render_output(evaluator: Evaluator, task: TaskUnderWork, stored: Stored) -> JsonValue:
    """Return a task's output once its steps are done; by default it is the last step's."""
    fields = output_fields(task.spec.output)
    if not fields:
        last = task.steps[-1].name
        return (await stored.outputs([last]))[last]
    steps = [*needed_outputs(task, None, sources_in(fields)).values()]
    return (await evaluator.render(fields, await load_scope(task, stored, steps)))["spec.output"]


async def _render(
    evaluator: Evaluator, task: TaskUnderWork, index: int, fields: Mapping[str, Field], stored: Stored
) -> tuple[str, JsonValue]:
    """Render the one field, and return its path as well."""
    steps = [*needed_outputs(task, index, sources_in(fields)).values()]
    (rendered,) = (await evaluator.render(fields, await load_scope(task, stored, steps))).items()
    return rendered


def _path(index: int) -> str:
    return f"spec.steps[{index}]"


def _shown(value: JsonValue) -> str:
    return shorten(json.dumps(value, ensure_ascii=False), 100)
