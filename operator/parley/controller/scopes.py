"""What a task's templates may read: its inputs, earlier outputs, the session, the agent, an item."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from parley.controller.stored_values import Stored
from parley.controller.task_under_work import TaskUnderWork
from parley.protocol.request import AgentSnapshot, SessionSnapshot, TaskSnapshot
from parley.resources.steps import all_needs_of
from parley.resources.tools import ToolSpec
from parley.templates.fields import Field
from parley.templates.scope import step_variable, task_scope
from parley.templates.usage import mentioned_steps, templates_in

NO_ITEM = -1


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a step's forEach."""

    index: int
    value: JsonValue


async def load_item(stored: Stored, step: str, index: int) -> Item | None:
    """Load a step's item; None for a step without forEach, whose index is -1."""
    if index == NO_ITEM:
        return None
    return Item(index, (await stored.items(step, [index]))[index])


def sources_in(fields: Mapping[str, Field]) -> list[str]:
    """Every template of the fields."""
    return [source for _, source in templates_in(fields)]


def needed_outputs(task: TaskUnderWork, index: int | None, sources: Iterable[str]) -> dict[str, str]:
    """Find the steps whose outputs templates may read, by their names in templates: large ones need not travel in vain.

    Args:
        task: the task.
        index: the step's, whose own needs are done when it begins; None once all steps are done.
        sources: the templates.

    Raises:
        TemplateError: one of them can never be rendered.
    """
    names: Iterable[str] = (step.name for step in task.steps)
    if index is not None:
        done = all_needs_of(task.steps, index)
        names = [step.name for step in task.steps[:index] if step.name in done]
    known = {step_variable(name): name for name in names}
    mentioned = mentioned_steps(sources, known)
    return {variable: name for variable, name in known.items() if variable in mentioned}


async def load_scope(
    task: TaskUnderWork, stored: Stored, steps: Sequence[str], item: Item | None = None
) -> dict[str, JsonValue]:
    """Collect the names that templates can use, with the outputs of these steps."""
    scope = task_scope(
        inputs=task.spec.inputs,
        outputs=await stored.outputs(steps),
        session=await session_snapshot(task, stored),
        agent=agent_snapshot(task) if task.agent else None,
        task=task_snapshot(task),
    )
    return scope if item is None else scope | {"item": item.value, "index": item.index}


def task_snapshot(task: TaskUnderWork) -> TaskSnapshot:
    """What templates may know of the task itself."""
    return TaskSnapshot(name=task.resource.name, namespace=task.resource.namespace)


def agent_snapshot(task: TaskUnderWork) -> AgentSnapshot:
    """The agent that speaks, as it is now."""
    spec = task.agent_spec
    if task.agent is None or spec is None:
        raise RuntimeError("a prompt step needs an agent")
    return AgentSnapshot(
        name=task.agent.name,
        display_name=spec.display_name,
        description=spec.description,
        instructions=spec.instructions,
        system_template=spec.system_template,
        model=spec.model,
        tools=[_with_parameters(tool, task.template_schemas) for tool in spec.tools],
        builtin_tools=[*spec.builtin_tools],
        max_tool_rounds=spec.max_tool_rounds,
        pod=spec.runner_pod,
    )


def _with_parameters(tool: ToolSpec, schemas: Mapping[str, dict[str, JsonValue]]) -> ToolSpec:
    """Say what a task tool takes where only its template does."""
    if tool.task is None or tool.parameters is not None:
        return tool
    schema = schemas.get(tool.task.template_ref.name)
    return tool if schema is None else tool.model_copy(update={"parameters": schema})


async def session_snapshot(task: TaskUnderWork, stored: Stored) -> SessionSnapshot | None:
    """The session as it is now; the stored context stands in place of its spec's."""
    spec = task.session_spec
    if task.session is None or spec is None:
        return None
    context, limits = await stored.context(), spec.limits
    return SessionSnapshot(
        name=task.session.name,
        user=task.speaker,
        users=spec.people,
        agents=spec.agent_names,
        situation=spec.situation,
        system_template=spec.system_template,
        context=spec.context if context.values is None else context.values,
        metadata=spec.metadata,
        context_window=limits.context_window if limits else None,
        token_budget=limits.token_budget if limits else None,
        context_overflow=limits.context_overflow.value if limits else "Truncate",
        context_version=context.version,
    )
