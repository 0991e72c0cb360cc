"""Fixtures: each test runs with both clients."""

import pytest
from parley.client import patience

from tests.unit.client.scripted import Answer, Both, Make, ScriptedGateway


@pytest.fixture(params=["sync", "async"])
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make a client of a gateway that gives these answers; it waits for milliseconds where it would for seconds."""
    monkeypatch.setattr(patience, "_FIRST_SECONDS", 0.001)

    def make(*answers: Answer, **options: object) -> Both:
        return Both(request.param, ScriptedGateway(*answers), **options)

    return make
