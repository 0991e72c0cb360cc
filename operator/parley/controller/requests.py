"""From a step to its attempt's request, and from the request to what its Job runs.

A prompt is rendered in its pod, so its request carries templates and the values they may read; a container's fields
are rendered here, in the guarded evaluator, and its request is what the Job gets.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import JsonValue

from parley.controller.job_builder import ContainerWorkload, RunnerWorkload
from parley.controller.settings import Settings
from parley.protocol.request import (
    AgentSnapshot,
    ContainerRequest,
    PromptRequest,
    SessionSnapshot,
    TaskSnapshot,
)
from parley.resources.task import ContainerStep, PromptStep, Step
from parley.templates.evaluator import Evaluator
from parley.templates.fields import container_fields, output_fields, prompt_fields, rendered_container
from parley.templates.scope import step_variable, task_scope
from parley.templates.usage import mentioned_steps, templates_in

if TYPE_CHECKING:
    from parley.controller.task_actions import TaskUnderWork


async def build_request(
    evaluator: Evaluator, task: "TaskUnderWork", index: int, step: Step, outputs: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """Build the request of a step's next attempt.

    Raises:
        TemplateError: a field of a container step could not be rendered; the error names it.
    """
    path = f"spec.steps[{index}]"
    snapshot = TaskSnapshot(name=task.resource.name, namespace=task.resource.namespace)
    if step.container is not None:
        fields = container_fields(step.container, path)
        sources = [source for _, source in templates_in(fields)]
        needed = {name: outputs.get(name) for name in _needed(task, index, sources)}
        values = await evaluator.render(fields, _scope(task, needed))
        rendered = rendered_container(step.container, path, values)
        return _dump(ContainerRequest(task=snapshot, step=step.name, container=rendered.to_json()))
    if step.prompt is None or task.agent is None:
        raise RuntimeError(f"step {step.name} has no agent to answer it")
    uses_history = task.session is not None and step.prompt.history != "None"
    return _dump(
        PromptRequest(
            task=snapshot,
            step=step.name,
            path="spec.message" if task.spec.message is not None else f"{path}.prompt",
            prompt=step.prompt,
            literal=task.spec.message is not None,
            history="Session" if uses_history else "None",
            agent=_agent_snapshot(task),
            session=_session_snapshot(task),
            inputs=task.spec.inputs,
            needs_outputs=_needed(task, index, _prompt_sources(task, step.prompt)),
        )
    )


async def render_output(
    evaluator: Evaluator, task: "TaskUnderWork", outputs: Mapping[str, JsonValue]
) -> JsonValue:
    """Render the task's output; by default it is the last step's.

    Raises:
        TemplateError: a field of ``spec.output`` could not be rendered.
    """
    if task.spec.output is None:
        return outputs.get(task.steps[-1].name)
    fields = output_fields(task.spec.output)
    return (await evaluator.render(fields, _scope(task, outputs)))["spec.output"]


def workload_of(
    request: Mapping[str, JsonValue], settings: Settings, store_id: str
) -> RunnerWorkload | ContainerWorkload:
    """Return what an attempt's Job runs."""
    if request["kind"] == "Container":
        container = ContainerStep.model_validate(request["container"])
        return ContainerWorkload(
            image=container.image,
            command=container.command,
            args=container.args,
            env=[variable.to_json() for variable in container.env],
            resources=container.resources.to_json() if container.resources else None,
            image_pull_policy=container.image_pull_policy or "IfNotPresent",
        )
    secret = PromptRequest.model_validate(request).agent.model.api_key_secret_ref
    return RunnerWorkload(
        image=settings.runner_image,
        gateway_url=settings.gateway_url,
        store_id=store_id,
        api_key=(secret.name, secret.key) if secret else None,
    )


def _prompt_sources(task: "TaskUnderWork", prompt: PromptStep) -> list[str]:
    """Every template that a prompt's runner renders."""
    agent, session = task.agent_spec, task.session_spec
    sources = [] if task.spec.message is not None else [t for _, t in templates_in(prompt_fields(prompt, ""))]
    if agent is not None:
        sources += [agent.instructions, agent.system_template]
    if session is not None:
        sources.append(session.system_template)
    return sources


def _needed(task: "TaskUnderWork", index: int, sources: list[str]) -> list[str]:
    """Names of the earlier steps whose outputs the templates may read: large ones need not travel in vain."""
    earlier = {step_variable(step.name): step.name for step in task.steps[:index]}
    mentioned = mentioned_steps(sources, earlier)
    return [name for variable, name in earlier.items() if variable in mentioned]


def _scope(task: "TaskUnderWork", outputs: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return task_scope(
        inputs=task.spec.inputs,
        outputs=outputs,
        session=_session_snapshot(task),
        agent=_agent_snapshot(task) if task.agent else None,
        task=TaskSnapshot(name=task.resource.name, namespace=task.resource.namespace),
    )


def _agent_snapshot(task: "TaskUnderWork") -> AgentSnapshot:
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
    )


def _session_snapshot(task: "TaskUnderWork") -> SessionSnapshot | None:
    spec = task.session_spec
    if task.session is None or spec is None:
        return None
    return SessionSnapshot(
        name=task.session.name,
        user=spec.user,
        situation=spec.situation,
        system_template=spec.system_template,
        context=spec.context,
        metadata=spec.metadata,
        context_window=spec.limits.context_window if spec.limits else None,
    )


def _dump(model: PromptRequest | ContainerRequest) -> dict[str, JsonValue]:
    return model.model_dump(mode="json", by_alias=True)
