"""From an attempt's request to what its pod runs."""

from collections.abc import Iterable, Mapping

from pydantic import JsonValue

from parley.controller.pod_builder import ContainerWorkload, Gateway, RunnerWorkload
from parley.controller.settings import Settings
from parley.protocol.request import ContainerRequest, ToolRequest
from parley.protocol.request import runner_request as read_request
from parley.resources.common import SecretKeyRef
from parley.resources.task import ContainerStep
from parley.resources.tools import ToolSpec, tool_called

_KEY_VARIABLE = "PARLEY_IDEMPOTENCY_KEY"


def workload_of(
    request: Mapping[str, JsonValue], settings: Settings, store_id: str, *, serves: bool = False
) -> RunnerWorkload | ContainerWorkload:
    """Return what an attempt's pod runs; with ``serves`` its runner stays with its task."""
    gateway = Gateway(image=settings.runner_image, url=settings.gateway_url, store_id=store_id)
    if request.get("kind") == "Container":
        return _container(ContainerRequest.model_validate(request), gateway)
    asked = read_request(request)
    tools, models = asked.agent.tools, asked.agent.model.in_order
    if isinstance(asked, ToolRequest) and not serves:
        # It asks no model, and of the tools it calls one.
        called = tool_called(tools, asked.tool.name)
        tools, models = [called] if called is not None else [], []
    keys = [model.api_key_secret_ref for model in models if model.api_key_secret_ref is not None]
    return RunnerWorkload(
        gateway=gateway, api_keys=_distinct(keys), tool_secrets=_distinct(_secrets(tools)), serves=serves
    )


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
    return [*{(reference.name, reference.key): reference for reference in references}.values()]
