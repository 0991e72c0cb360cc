"""From an attempt's request, or from an agent, to what a pod runs."""

from collections.abc import Iterable, Mapping

from pydantic import JsonValue

from parley.controller.pod_builder import ContainerWorkload, Gateway, RunnerWorkload
from parley.controller.settings import Settings
from parley.protocol.request import ContainerRequest, ToolRequest
from parley.protocol.request import runner_request as read_request
from parley.resources.agent import AgentSpec, ModelEndpoint
from parley.resources.common import SecretKeyRef
from parley.resources.task import ContainerStep
from parley.resources.tools import ToolSpec, tool_called

_KEY_VARIABLE = "PARLEY_IDEMPOTENCY_KEY"


def workload_of(
    request: Mapping[str, JsonValue], settings: Settings, store_id: str, *, serves: bool = False
) -> RunnerWorkload | ContainerWorkload:
    """Return what an attempt's pod runs; with ``serves`` its runner stays with its task."""
    gateway = _gateway(settings, store_id)
    if request.get("kind") == "Container":
        return _container(ContainerRequest.model_validate(request), gateway)
    asked = read_request(request)
    tools, models = asked.agent.tools, asked.agent.model.in_order
    if isinstance(asked, ToolRequest) and not serves:
        # It asks no model, and of the tools it calls one.
        called = tool_called(tools, asked.tool.name)
        tools, models = [called] if called is not None else [], []
    return RunnerWorkload(
        gateway=gateway,
        api_keys=_keys(models),
        tool_secrets=_distinct(_secrets(tools)),
        stays="with its task" if serves else "no",
        pod=asked.agent.pod,
    )


def warm_workload(agent: AgentSpec, settings: Settings, store_id: str) -> RunnerWorkload:
    """Return what the pods of an agent's warm runners run, whatever their pool is called."""
    return RunnerWorkload(
        gateway=_gateway(settings, store_id),
        # In an order of their own: other tools in front of one are no reason for other pods.
        api_keys=sorted(_keys(agent.model.in_order), key=_name),
        tool_secrets=sorted(agent.tool_secrets, key=_name),
        stays="with its agent",
        concurrency=agent.warm.concurrency,
        pod=agent.runner_pod,
    )


def has_secrets_of(workload: RunnerWorkload, request: Mapping[str, JsonValue]) -> bool:
    """Tell whether a pod is given all Secrets that an attempt may need."""
    agent = read_request(request).agent
    keys, tools = _by_name(_keys(agent.model.in_order)), _by_name(_secrets(agent.tools))
    return keys <= _by_name(workload.api_keys) and tools <= _by_name(workload.tool_secrets)


def _gateway(settings: Settings, store_id: str) -> Gateway:
    return Gateway(image=settings.runner_image, url=settings.gateway_url, store_id=store_id)


def _keys(models: Iterable[ModelEndpoint]) -> list[SecretKeyRef]:
    return _distinct(model.api_key_secret_ref for model in models if model.api_key_secret_ref is not None)


def _container(request: ContainerRequest, gateway: Gateway) -> ContainerWorkload:
    container = ContainerStep.model_validate(request.container)
    env = [variable.to_json() for variable in container.env]
    if request.idempotency_key is not None:
        env.append({"name": _KEY_VARIABLE, "value": request.idempotency_key})
    return ContainerWorkload(
        image=container.image,
        command=container.command,
        args=container.args,
        env=env,
        resources=container.resources.to_json() if container.resources else None,
        image_pull_policy=container.image_pull_policy or "IfNotPresent",
        gateway=gateway,
        input_file=request.input_file is not None,
        output_file=container.output_from == "File",
    )


def _secrets(tools: Iterable[ToolSpec]) -> list[SecretKeyRef]:
    headers = [header for tool in tools for header in tool.headers]
    return [header.value_from.secret_key_ref for header in headers if header.value_from is not None]


def _distinct(references: Iterable[SecretKeyRef]) -> list[SecretKeyRef]:
    return [*{_name(reference): reference for reference in references}.values()]


def _name(reference: SecretKeyRef) -> tuple[str, str]:
    return reference.name, reference.key


def _by_name(references: Iterable[SecretKeyRef]) -> set[tuple[str, str]]:
    return {_name(reference) for reference in references}
