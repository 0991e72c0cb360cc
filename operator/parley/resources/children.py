"""The Tasks that are written out inside task steps."""

from collections.abc import Iterator, Sequence

from pydantic import JsonValue

from parley.resources.flow import TaskStep
from parley.resources.problems import Problem
from parley.resources.reading import read_spec
from parley.resources.task import TaskFields, TaskSpec

MAX_DEPTH = 5
"""Levels of Tasks below the first one."""


def inline_children(parent: TaskFields, root: str) -> Iterator[tuple[str, TaskSpec | Sequence[Problem]]]:
    """The Tasks written out inside a Task's steps, or why they cannot be read, by the path of their spec.

    They have their parent's session, agent and user where they name none, and their step's inputs as they are written,
    not rendered.
    """
    for index, step in enumerate(parent.steps or ()):
        if step.task is not None and step.task.spec is not None:
            path = f"{root}.steps[{index}].task.spec"
            yield path, read_spec(TaskSpec, _child_json(step.task, parent), path)


def _child_json(step: TaskStep, parent: TaskFields) -> dict[str, JsonValue]:
    spec = dict(step.spec or {})
    own = spec.get("inputs", {})
    if isinstance(own, dict):
        spec["inputs"] = {**own, **step.inputs}
    # A TaskTemplate does not know its session yet, and one that is referred to may name its own.
    if isinstance(parent, TaskSpec) and not {"sessionRef", "agentRef", "templateRef"} & spec.keys():
        spec = {**bound_to(parent), **spec}
    return spec


def bound_to(parent: TaskFields) -> dict[str, JsonValue]:
    """With whom a Task is, as its child has it that names nobody: session, agent and user."""
    given = {"sessionRef": parent.session_ref, "agentRef": parent.agent_ref}
    bound: dict[str, JsonValue] = {key: ref.to_json() for key, ref in given.items() if ref is not None}
    return bound if parent.user is None else {**bound, "user": parent.user}
