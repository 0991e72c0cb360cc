from collections.abc import Iterator

import pytest

from tests.unit.runner.scripted import ScriptedModel, scripted_model


@pytest.fixture(scope="session")
def model() -> Iterator[ScriptedModel]:
    with scripted_model() as running:
        yield running
