"""What can be wrong in one step, by itself and with the steps around it."""

import json
from collections.abc import Iterator, Sequence
from typing import cast

from pydantic import JsonValue

from parley.resources.common import read_instant
from parley.resources.container import ONE_SOURCE, ONE_VALUE, RESERVED_VARIABLE, EnvVar
from parley.resources.flow import MAX_ITEMS, ForEach, SleepStep, TaskStep, WaitStep
from parley.resources.output_schema import schema_problems
from parley.resources.problems import Problem, free_value_problems
from parley.resources.steps import (
    ATTEMPT_FIELDS,
    CONTINUE_NOT_HERE,
    HISTORY_WITHOUT_ITEMS,
    STEP_KINDS,
    PromptStep,
    Step,
)


def step_problems(steps: Sequence[Step], index: int, path: str) -> Iterator[Problem]:
    """What is wrong in a step.

    Args:
        steps: all steps of the task.
        index: which one.
        path: of the step, such as ``spec.steps[1]``.
    """
    step = steps[index]
    # Much of it is a CEL rule too; but an object may be older than the rule, and no rule sees an inline Task.
    if len(step.kinds) != 1:
        yield Problem(path, f"a step has exactly one of {', '.join(STEP_KINDS)}")
    yield from _common_problems(step, path)
    yield from _needs_problems(steps, index, path)
    if step.for_each is not None:
        yield from _items_problems(step.for_each, f"{path}.forEach.items")
    if step.prompt is not None:
        yield from _prompt_problems(step.prompt, f"{path}.prompt")
    if step.tool is not None:
        yield from free_value_problems(step.tool.arguments, f"{path}.tool.arguments")
    if step.container is not None:
        yield from env_problems(step.container.env, f"{path}.container.env")
        yield from free_value_problems(step.container.input_file, f"{path}.container.inputFile")
    if step.wait is not None:
        yield from _wait_problems(step.wait, f"{path}.wait")
    if step.sleep is not None:
        yield from _sleep_problems(step.sleep, f"{path}.sleep")
    if step.set is not None:
        yield from free_value_problems(step.set.context, f"{path}.set.context")
    if step.task is not None:
        yield from _child_problems(step.task, f"{path}.task")
    if step.return_ is not None:
        yield from free_value_problems(step.return_.value, f"{path}.return.value")


def _common_problems(step: Step, path: str) -> Iterator[Problem]:
    given = {"retry": step.retry, "timeout": step.timeout, "forEach": step.for_each}
    for field, why in ATTEMPT_FIELDS.items():
        if given[field] is not None and not step.has_attempts:
            yield Problem(f"{path}.{field}", f"{field} is for prompt, tool, container and task steps: {why}")
    if step.continue_on_error and (step.return_ is not None or step.fail is not None):
        yield Problem(f"{path}.continueOnError", CONTINUE_NOT_HERE)
    if step.for_each is not None and step.prompt is not None and step.prompt.history == "Session":
        yield Problem(f"{path}.prompt.history", HISTORY_WITHOUT_ITEMS)


def _needs_problems(steps: Sequence[Step], index: int, path: str) -> Iterator[Problem]:
    above = [step.name for step in steps[:index]]
    below = {step.name for step in steps[index + 1 :]}
    for position, name in enumerate(steps[index].needs or ()):
        where = f"{path}.needs[{position}]"
        if name in (steps[index].needs or ())[:position]:
            yield Problem(where, f"step {name} is there twice")
        if name in above:
            continue
        if name == steps[index].name:
            yield Problem(where, f"step {name} cannot need itself")
        elif name in below:
            yield Problem(
                where, f"step {name} is written below; a step can only need steps above it: move it up"
            )
        else:
            yield Problem(
                where, f"there is no step {name}; the steps above are {', '.join(above[:12]) or 'none'}"
            )
    if steps[index].name in above:
        yield Problem(f"{path}.name", f"another step is called {steps[index].name}; names must differ")


def _items_problems(for_each: ForEach, path: str) -> Iterator[Problem]:
    items = for_each.items
    if isinstance(items, list):
        if len(items) > MAX_ITEMS:
            yield Problem(path, f"has {len(items)} items; at most {MAX_ITEMS} are allowed")
        yield from free_value_problems(items, path)
    elif not isinstance(items, str):
        yield Problem(
            path, f"is {_shown(items)}; it must be a list, or one {{{{ expression }}}} that yields a list"
        )


def _prompt_problems(prompt: PromptStep, path: str) -> Iterator[Problem]:
    if (prompt.text is None) == (prompt.messages is None):
        yield Problem(path, "a prompt has exactly one of text and messages")
    if prompt.output_schema is not None:
        yield from schema_problems(prompt.output_schema, f"{path}.outputSchema")


def env_problems(env: Sequence[EnvVar], path: str) -> Iterator[Problem]:
    """What is wrong in the variables of a container."""
    names: set[str] = set()
    for index, variable in enumerate(env):
        where, source = f"{path}[{index}]", variable.value_from
        if variable.name in names:
            yield Problem(f"{where}.name", f"another variable is called {variable.name}; names must differ")
        names.add(variable.name)
        if variable.name.startswith("PARLEY_"):
            yield Problem(f"{where}.name", RESERVED_VARIABLE)
        if (variable.value is None) == (source is None):
            yield Problem(where, ONE_VALUE)
        if source is not None and (source.secret_key_ref is None) == (source.config_map_key_ref is None):
            yield Problem(f"{where}.valueFrom", ONE_SOURCE)


def _wait_problems(wait: WaitStep, path: str) -> Iterator[Problem]:
    if wait.choices is not None and wait.schema_ is not None:
        yield Problem(path, "a wait has choices or a schema, not both")
    if wait.choices is not None and len(set(wait.choices)) < len(wait.choices):
        yield Problem(f"{path}.choices", "has a choice twice; choices must differ")
    if wait.schema_ is not None:
        yield from schema_problems(wait.schema_, f"{path}.schema")
    default = wait.on_timeout
    if default is None:
        return
    if wait.timeout is None:
        yield Problem(f"{path}.onTimeout", "needs a timeout: say how long to wait")
    if wait.choices is None:
        yield from free_value_problems(default, f"{path}.onTimeout")
    elif not isinstance(default, str):
        yield Problem(
            f"{path}.onTimeout", f"is {_shown(default)}; it must be one of the choices, a text (quote it)"
        )
    elif "{" not in default and default not in wait.choices:
        yield Problem(
            f"{path}.onTimeout", f"{_shown(default)} is none of the choices {', '.join(wait.choices)}"
        )


def _sleep_problems(sleep: SleepStep, path: str) -> Iterator[Problem]:
    if (sleep.duration is None) == (sleep.until is None):
        yield Problem(path, "a sleep has exactly one of duration and until")
    if sleep.until is not None and "{" not in sleep.until and read_instant(sleep.until) is None:
        yield Problem(
            f"{path}.until", f"{_shown(sleep.until)} is no instant: write it like 2027-01-31T09:00:00Z"
        )


def _child_problems(task: TaskStep, path: str) -> Iterator[Problem]:
    if (task.template_ref is None) == (task.spec is None):
        yield Problem(path, "a task step has exactly one of templateRef and spec")
    yield from free_value_problems(cast("JsonValue", task.inputs), f"{path}.inputs")
    if task.spec is not None and "desiredState" in task.spec:
        yield Problem(
            f"{path}.spec.desiredState",
            "has no place here: the Task is suspended and cancelled with its parent",
        )


def _shown(value: JsonValue) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 64 else f"{text[:63]}…"
