from collections.abc import Iterator

import pytest

from tests.unit.runner.tools.answering import Server, answering_server


@pytest.fixture
def server() -> Iterator[Server]:
    with answering_server() as running:
        yield running
