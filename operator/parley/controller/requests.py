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
from parley.resources.agent import AgentSpec
from parley.resources.session import SessionSpec
from parley.resources.task import ContainerStep, Step
from parley.templates.evaluator import Evaluator
from parley.templates.fields import container_fields, output_fields, rendered_container
from parley.templates.scope import task_scope

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
        values = await evaluator.render(fields, _scope(task, outputs)) if fields else {}
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
            needs_outputs=[earlier.name for earlier in task.steps[:index]],
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


def _scope(task: "TaskUnderWork", outputs: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return task_scope(
        inputs=task.spec.inputs,
        outputs=outputs,
        session=_session_snapshot(task),
        agent=_agent_snapshot(task) if task.agent else None,
        task=TaskSnapshot(name=task.resource.name, namespace=task.resource.namespace),
    )


def _agent_snapshot(task: "TaskUnderWork") -> AgentSnapshot:
    if task.agent is None:
        raise RuntimeError("a prompt step needs an agent")
    spec = AgentSpec.model_validate(task.agent.spec)
    return AgentSnapshot(
        name=task.agent.name,
        display_name=spec.display_name,
        description=spec.description,
        instructions=spec.instructions,
        system_template=spec.system_template,
        model=spec.model,
    )


def _session_snapshot(task: "TaskUnderWork") -> SessionSnapshot | None:
    if task.session is None:
        return None
    spec = SessionSpec.model_validate(task.session.spec)
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
