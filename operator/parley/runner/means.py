"""What an attempt works with, whatever kind of step it is of."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from parley.runner.fallbacks import ConnectModel
from parley.runner.gateway_client import GatewayClient
from parley.runner.rendering import Renderer
from parley.runner.tool_opening import LoadTools


@dataclass(frozen=True, slots=True)
class Means:
    """What an attempt works with.

    Attributes:
        gateway: where it is committed to.
        secrets: models' keys and tools' secrets, by variable.
        loading: gives what connects to models, once it is imported.
        load_tools: gives the tools' constructor; run in a thread, for it may import much.
        remaining: seconds until the attempt's deadline.
        renderer: renders the step's templates.
    """

    gateway: GatewayClient
    secrets: Mapping[str, str]
    loading: Awaitable[ConnectModel]
    load_tools: LoadTools
    remaining: Callable[[], float]
    renderer: Renderer
