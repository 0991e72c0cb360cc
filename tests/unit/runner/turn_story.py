"""One attempt, with a model and tools as the test wants them."""

from typing import Any

from parley.runner.step import MakeModel, StepRun

from tests.unit.runner.fake_gateway import FakeGateway
from tests.unit.runner.fake_model import FakeModel
from tests.unit.runner.fake_tools import FakeTools

MODEL = {"provider": "OpenAI", "name": "scripted"}


def agent(*tools: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "support", "model": MODEL, "tools": list(tools), **more}


async def run(
    gateway: FakeGateway, *says: Any, tools: FakeTools | None = None, secrets: dict[str, str] | None = None
) -> FakeModel:
    model = FakeModel(*says)

    def load() -> MakeModel:
        return lambda _spec, _key: model

    box = tools or FakeTools()
    await StepRun(gateway.client(), secrets or {}, load, load_tools=box.load).run()
    assert model.closed == bool(model.asked)
    assert box.closed == len(box.made)
    return model


def outcome(gateway: FakeGateway) -> dict[str, Any]:
    assert gateway.outcome is not None, f"no outcome; requests: {gateway.calls()}"
    return gateway.outcome
