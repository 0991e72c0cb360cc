"""One attempt of a prompt step before a gateway in memory, and its outcome."""

from typing import Any

from parley.runner.step import MakeModel, StepRun

from tests.unit.runner.fake_gateway import FakeGateway
from tests.unit.runner.fake_model import FakeModel


def step_of(gateway: FakeGateway, model: FakeModel) -> StepRun:
    def load() -> MakeModel:
        return lambda _spec, _key: model

    return StepRun(gateway.client(), {}, load)


async def run(gateway: FakeGateway, *says: Any) -> FakeModel:
    model = FakeModel(*says)
    await step_of(gateway, model).run()
    return model


def outcome(gateway: FakeGateway) -> dict[str, Any]:
    assert gateway.outcome is not None, f"no outcome; requests: {gateway.calls()}"
    return gateway.outcome
