"""What can be wrong in a Task, in a TaskTemplate's task, and in the Tasks written out inside their steps."""

from collections.abc import Iterator

from parley.resources.children import MAX_DEPTH, inline_children
from parley.resources.problems import Problem, free_value_problems
from parley.resources.step_problems import step_problems
from parley.resources.task import TOOL_OF_NOBODY, USER_WITHOUT_SESSION, TaskFields, TaskSpec


def task_problems(
    spec: TaskFields, root: str = "spec", *, depth: int = 0, bound: bool = True
) -> Iterator[Problem]:
    """What is wrong in a Task's spec, in the order of its fields.

    Args:
        spec: a Task's, or that of a TaskTemplate's task.
        root: path of the spec.
        depth: how many Tasks are around it.
        bound: its session and agent are known; not so in a TaskTemplate, which has them from whoever uses it.
    """
    if depth > MAX_DEPTH:
        yield Problem(
            root,
            f"is nested deeper than {MAX_DEPTH} Tasks below the first; use a TaskTemplate and fewer levels",
        )
        return
    # Much of it is a CEL rule too; but an object may be older than the rule, and no rule sees an inline Task.
    if isinstance(spec, TaskSpec):
        yield from _kind_problems(spec, root)
        if spec.template_ref is None and bound:
            yield from _somebody_problems(spec, root)
    elif (spec.message is None) == (spec.steps is None):
        yield Problem(root, "a TaskTemplate's task has exactly one of message and steps")
    has_session = spec.session_ref is not None or (
        isinstance(spec, TaskSpec) and spec.template_ref is not None
    )
    if spec.user is not None and not has_session:
        yield Problem(f"{root}.user", USER_WITHOUT_SESSION)
    yield from free_value_problems(spec.inputs, f"{root}.inputs")
    children = dict(inline_children(spec, root))
    for index in range(len(spec.steps or ())):
        path = f"{root}.steps[{index}]"
        yield from step_problems(spec.steps or [], index, path)
        child = children.get(f"{path}.task.spec")
        if isinstance(child, TaskSpec):
            yield from task_problems(child, f"{path}.task.spec", depth=depth + 1, bound=bound)
        elif child is not None:
            yield from child
    if spec.output is not None:
        yield from free_value_problems(spec.output, f"{root}.output")


def _kind_problems(spec: TaskSpec, root: str) -> Iterator[Problem]:
    given = [field for field in (spec.message, spec.steps, spec.template_ref) if field is not None]
    if len(given) != 1:
        yield Problem(root, "a Task has exactly one of message, steps and templateRef")
    if spec.template_ref is not None and spec.output is not None:
        yield Problem(
            f"{root}.output", "output is for the TaskTemplate to say: a Task with templateRef has none"
        )


def _somebody_problems(spec: TaskSpec, root: str) -> Iterator[Problem]:
    """What needs a session or an agent, and has none."""
    if spec.session_ref is not None:
        return
    if spec.message is not None and spec.agent_ref is None:
        yield Problem(f"{root}.message", "a message needs a sessionRef or an agentRef: somebody must answer")
    for index, step in enumerate(spec.steps or ()):
        path = f"{root}.steps[{index}]"
        if step.prompt is not None and spec.agent_ref is None:
            yield Problem(
                f"{path}.prompt",
                "a prompt step needs the Task's sessionRef or agentRef: somebody must answer",
            )
        if step.tool is not None and spec.agent_ref is None:
            yield Problem(f"{path}.tool", TOOL_OF_NOBODY)
        if step.prompt is not None and step.prompt.history == "Session":
            yield Problem(f"{path}.prompt.history", "history: Session needs the Task's sessionRef")
        if step.set is not None:
            yield Problem(
                f"{path}.set", "a set step needs the Task's sessionRef: it changes the session's context"
            )
