"""A clock that the test moves, and an API server in memory."""

import pytest

from tests.fake_kube import FakeKube
from tests.unit.kube.virtual_clock import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def server() -> FakeKube:
    return FakeKube()
