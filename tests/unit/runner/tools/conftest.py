from collections.abc import Iterator

import pytest

from tests.unit.runner.tools.answering import Server, answering_server
from tests.unit.runner.tools.mcp_servers import Tickets, mcp_server


@pytest.fixture
def server() -> Iterator[Server]:
    with answering_server() as running:
        yield running


@pytest.fixture(params=["stateless, JSON", "with sessions, streamed"])
def tickets(request: pytest.FixtureRequest) -> Iterator[Tickets]:
    stateless = request.param.startswith("stateless")
    with mcp_server(stateless=stateless, json=stateless) as running:
        yield running


@pytest.fixture
def plain() -> Iterator[Tickets]:
    with mcp_server() as running:
        yield running
