"""Find what is wrong in the templates of a Task: each field knows what is there when it is rendered."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from parley.resources.children import MAX_DEPTH, inline_children
from parley.resources.problems import Problem
from parley.resources.steps import Step, all_needs_of
from parley.resources.task import TaskFields, TaskSpec
from parley.templates.compile import parse, single_expression
from parley.templates.errors import TemplateError
from parley.templates.field_check import Known, field_problems
from parley.templates.fields import items_fields, kind_fields, output_fields, when_fields
from parley.templates.scope import ITEM_NAMES, TASK_NAMES, step_variable

_ONCE = "it is rendered once for the step, not for each item"


def task_template_problems(
    spec: TaskFields,
    root: str,
    *,
    known_inputs: Collection[str] | None = None,
    bound: bool = True,
    depth: int = 0,
) -> Iterator[Problem]:
    """All that is wrong in the templates of a Task, and of the Tasks written out inside its steps.

    Args:
        spec: a Task's, or that of a TaskTemplate's task.
        root: path of the spec.
        known_inputs: names of the inputs of a TaskTemplate; None where there may be any.
        bound: session, agent and inputs are known; not so in a TaskTemplate, which has them from whoever uses it.
        depth: how many Tasks are around it.
    """
    if depth > MAX_DEPTH:
        return
    absent: dict[str, str] = {}
    if bound and spec.session_ref is None:
        absent["session"] = "the Task has no sessionRef"
        if spec.agent_ref is None:
            absent["agent"] = "the Task has neither sessionRef nor agentRef"
    names = [name for name in TASK_NAMES if name not in absent]
    inputs = spec.inputs if bound else known_inputs
    inputs_from = f"{root}.inputs" if bound or depth else "the template"
    # A message is what a person said, never a template.
    steps = spec.steps or []
    variables = [step_variable(step.name) for step in steps]
    children = dict(inline_children(spec, root))
    for index, step in enumerate(steps):
        path = f"{root}.steps[{index}]"
        done = all_needs_of(steps, index)
        known = Known(
            names,
            absent | dict.fromkeys(ITEM_NAMES, "the step has no forEach"),
            inputs,
            inputs_from,
            [variables[i] for i in range(index) if steps[i].name in done],
            variables[index:],
            [variables[i] for i in range(index) if steps[i].name not in done],
        )
        yield from _step_problems(step, path, known, absent)
        if isinstance(child := children.get(f"{path}.task.spec"), TaskSpec):
            # Who uses a TaskTemplate may give it a session; its children get that too.
            yield from task_template_problems(
                child,
                f"{path}.task.spec",
                known_inputs=child.inputs,
                bound=bound or child.session_ref is not None or child.agent_ref is not None,
                depth=depth + 1,
            )
    everything = [step_variable(step.name) for step in spec.effective_steps()]
    last = Known(names, absent, inputs, inputs_from, everything)
    yield from field_problems(output_fields(spec.output), last)


def _step_problems(step: Step, path: str, known: Known, absent: Mapping[str, str]) -> Iterator[Problem]:
    once = known
    if step.for_each is not None:
        once = replace(known, absent={**absent, **dict.fromkeys(ITEM_NAMES, _ONCE)})
        known = replace(known, names=(*known.names, *ITEM_NAMES), absent=absent)
    conditions = when_fields(step, path)
    yield from field_problems(conditions, once)
    if step.when is not None:
        yield from _expression_problem(step.when, f"{path}.when", "yields true or false")
    yield from field_problems(items_fields(step, path), once)
    if step.for_each is not None and isinstance(step.for_each.items, str):
        yield from _expression_problem(step.for_each.items, f"{path}.forEach.items", "yields a list")
    yield from field_problems(kind_fields(step, path), known)


def _expression_problem(source: str, path: str, yields: str) -> Iterator[Problem]:
    """A template with text around its expression always yields a text."""
    try:
        expression = single_expression(parse(source, path))
    except TemplateError:
        return  # said already
    if expression is None:
        yield Problem(path, f"yields a text: write exactly one {{{{ expression }}}} that {yields}")
