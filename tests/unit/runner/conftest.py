from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from parley.protocol.request import PromptRequest

from tests.unit.runner.fake_gateway import FakeGateway
from tests.unit.runner.scripted import ScriptedModel, scripted_model


@pytest.fixture(scope="session")
def model() -> Iterator[ScriptedModel]:
    with scripted_model() as running:
        yield running


@pytest.fixture
def make_gateway(tmp_path: Path) -> Callable[..., FakeGateway]:
    def make(request: PromptRequest | None = None, **taken: Any) -> FakeGateway:
        return FakeGateway(request, token_file=tmp_path / "token", **taken)

    return make


@pytest.fixture
def gateway(make_gateway: Callable[..., FakeGateway]) -> FakeGateway:
    return make_gateway()
