"""From a step to its attempt's request, and from the request to what is made for it: a Job's pod, or a child Task.

A prompt and a container's input file are rendered in their pod, so their requests carry templates and the values they
may read; all else is rendered here, in the guarded evaluator, and the request is what the Job or the child gets.
"""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from parley.controller.pod_builder import ContainerWorkload, Gateway, RunnerWorkload
from parley.controller.scopes import (
    NO_ITEM,
    Item,
    agent_snapshot,
    load_item,
    load_scope,
    needed_outputs,
    scope_with,
    session_snapshot,
    sources_in,
    task_snapshot,
)
from parley.controller.settings import Settings
from parley.controller.stored_values import Stored
from parley.controller.task_under_work import TaskUnderWork
from parley.protocol.request import ContainerRequest, InputFile, PromptRequest, TaskRequest
from parley.resources.agent import MAX_TEMPLATE
from parley.resources.task import ContainerStep, PromptStep, Step
from parley.templates.errors import TemplateError
from parley.templates.evaluator import Evaluator
from parley.templates.fields import (
    child_fields,
    container_fields,
    input_file_fields,
    prompt_fields,
    rendered_container,
)
from parley.templates.usage import read_usage

MAX_ARGUMENTS_BYTES = 512 * 1024
"""Most bytes of a container's command, arguments and environment together: they are part of its Job, and of what a
process is started with."""
_INSTEAD = "give large values through container.inputFile, which the container finds in /parley/input.json"


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
    if step.container is not None:
        return await _container_request(evaluator, task, index, step.container, stored, its)
    if step.task is not None:
        return await _task_request(evaluator, task, index, stored, its)
    request = await _prompt_request(task, index, step, stored)
    return _dump(request if its is None else request.model_copy(update=_of_item(its)))


async def build_round(
    task: TaskUnderWork, index: int, step: Step, stored: Stored, items: Sequence[int]
) -> list[dict[str, JsonValue]]:
    """Build the requests of a prompt's round, in the order of ``items``; all but the item is the same.

    Raises:
        TemplateError: a template of the step can never be rendered.
    """
    request = await _prompt_request(task, index, step, stored)
    base = _dump(request.model_copy(update={"inputs": _mentioned_inputs(task, request)}))
    values = await stored.items(step.name, items)
    return [base | {"item": values[item], "index": item} for item in items]


def workload_of(
    request: Mapping[str, JsonValue], settings: Settings, store_id: str, *, serves: bool = False
) -> RunnerWorkload | ContainerWorkload:
    """Return what an attempt's pod runs; with ``serves`` a prompt's runner stays with its task."""
    gateway = Gateway(image=settings.runner_image, url=settings.gateway_url, store_id=store_id)
    if request["kind"] == "Container":
        container = ContainerStep.model_validate(request["container"])
        return ContainerWorkload(
            image=container.image,
            command=container.command,
            args=container.args,
            env=[variable.to_json() for variable in container.env],
            resources=container.resources.to_json() if container.resources else None,
            image_pull_policy=container.image_pull_policy or "IfNotPresent",
            gateway=gateway,
            input_file=request.get("inputFile") is not None,
            output_file=container.output_from == "File",
        )
    models = PromptRequest.model_validate(request).agent.model.in_order
    references = [model.api_key_secret_ref for model in models if model.api_key_secret_ref is not None]
    keys = {(reference.name, reference.key): reference for reference in references}
    return RunnerWorkload(gateway=gateway, api_keys=[*keys.values()], serves=serves)


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
    named = {*child.spec, *(template_task or ())}
    if "sessionRef" in named or "agentRef" in named:
        return child.spec
    return child.spec | child.inherited


async def _prompt_request(task: TaskUnderWork, index: int, step: Step, stored: Stored) -> PromptRequest:
    if step.prompt is None or task.agent is None:
        raise RuntimeError(f"step {step.name} has no agent to answer it")
    default = "Session" if task.session is not None and step.for_each is None else "None"
    history = step.prompt.history or default
    return PromptRequest(
        task=task_snapshot(task),
        step=step.name,
        path="spec.message" if task.spec.message is not None else f"spec.steps[{index}].prompt",
        prompt=step.prompt,
        literal=task.spec.message is not None,
        history=history if task.session is not None else "None",
        agent=agent_snapshot(task),
        session=session_snapshot(task, await stored.context()),
        inputs=task.spec.inputs,
        needs_outputs=[*needed_outputs(task, index, _prompt_sources(task, step.prompt)).values()],
    )


def _prompt_sources(task: TaskUnderWork, prompt: PromptStep) -> list[str]:
    """Every template that a prompt's runner renders."""
    agent, session = task.agent_spec, task.session_spec
    sources = [] if task.spec.message is not None else sources_in(prompt_fields(prompt, ""))
    if agent is not None:
        sources += [agent.instructions, agent.system_template]
    if session is not None:
        sources.append(session.system_template)
    return sources


def _mentioned_inputs(task: TaskUnderWork, request: PromptRequest) -> dict[str, JsonValue]:
    """Leave out the inputs that no template reads: the list of all items need not be in each item's request."""
    found: set[str] = set()
    for source in _prompt_sources(task, request.prompt):
        for mention in read_usage(source, request.path).mentions:
            match mention.chain:
                case ("inputs", str(name), *_):
                    found.add(name)
                case ("inputs", *_):
                    return request.inputs
                case _:
                    pass
    return {name: value for name, value in request.inputs.items() if name in found}


def _of_item(item: Item) -> dict[str, JsonValue]:
    return {"item": item.value, "index": item.index}


async def _container_request(
    evaluator: Evaluator,
    task: TaskUnderWork,
    index: int,
    container: ContainerStep,
    stored: Stored,
    item: Item | None,
) -> dict[str, JsonValue]:
    path, step = f"spec.steps[{index}]", task.steps[index]
    fields = container_fields(container, path)
    needed = needed_outputs(task, index, sources_in(fields))
    values = await evaluator.render(fields, await load_scope(task, stored, [*needed.values()], item))
    _check_sizes(path, values)
    rendered = rendered_container(container, path, values).model_copy(update={"input_file": None})
    return _dump(
        ContainerRequest(
            task=task_snapshot(task),
            step=step.name,
            container=rendered.to_json(),
            index=None if item is None else item.index,
            input_file=await _input_file(task, index, container, stored, item),
        )
    )


async def _input_file(
    task: TaskUnderWork, index: int, container: ContainerStep, stored: Stored, item: Item | None
) -> InputFile | None:
    if container.input_file is None:
        return None
    fields = input_file_fields(container, f"spec.steps[{index}]")
    scope = scope_with(task, context=await stored.context(), outputs={}, item=item)
    return InputFile(
        path=next(iter(fields)),
        template=container.input_file,
        scope={name: value for name, value in scope.items() if name != "steps"},
        steps=needed_outputs(task, index, sources_in(fields)),
    )


def _check_sizes(path: str, values: Mapping[str, JsonValue]) -> None:
    """Refuse what no process can be started with, before the API server or the kubelet does.

    Raises:
        TemplateError: one value, or all together, are too large.
    """
    total = 0
    for field, value in values.items():
        text = value if isinstance(value, str) else ""
        if len(text) > MAX_TEMPLATE:
            message = f"the result has {len(text)} characters; at most {MAX_TEMPLATE} fit here: {_INSTEAD}"
            raise TemplateError(field, message)
        total += len(text.encode(errors="replace"))
    if total > MAX_ARGUMENTS_BYTES:
        message = f"command, args and env have {total} bytes; at most {MAX_ARGUMENTS_BYTES} fit: {_INSTEAD}"
        raise TemplateError(f"{path}.container", message)


async def _task_request(
    evaluator: Evaluator, task: TaskUnderWork, index: int, stored: Stored, item: Item | None
) -> dict[str, JsonValue]:
    step = task.steps[index]
    child = step.task
    if child is None:
        raise RuntimeError(f"step {step.name} makes no child task")
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
    return _dump(
        TaskRequest(
            task=task_snapshot(task),
            step=step.name,
            index=None if item is None else item.index,
            spec=spec,
            inherited=_references(task),
        )
    )


def _references(task: TaskUnderWork) -> dict[str, JsonValue]:
    if task.spec.session_ref is not None:
        return {"sessionRef": task.spec.session_ref.to_json()}
    if task.spec.agent_ref is not None:
        return {"agentRef": task.spec.agent_ref.to_json()}
    return {}


def _dump(model: PromptRequest | ContainerRequest | TaskRequest) -> dict[str, JsonValue]:
    return model.model_dump(mode="json", by_alias=True)
