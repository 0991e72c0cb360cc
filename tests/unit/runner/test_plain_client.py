"""The light client of the helpers beside a container: the same verdicts as the runner's own."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from parley.runner.plain_client import PlainClient
from parley.runner.verdicts import NOT_ADMITTED_SECONDS, NotAdmitted, Rejected, StopRunning, TooLarge

from tests.unit.runner.plain_gateway import PlainGateway, plain_gateway


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[PlainGateway]:
    with plain_gateway(tmp_path) as running:
        yield running


class Waits:
    """Takes no time, and counts it."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def clock(self) -> float:
        return sum(self.slept)


def client(gateway: PlainGateway, waits: Waits | None = None) -> PlainClient:
    waits = waits or Waits()
    return PlainClient(gateway.settings, "nonce-1", sleep=waits.sleep, clock=waits.clock)


def test_a_call_says_who_asks_and_of_which_store(gateway: PlainGateway) -> None:
    gateway.answer(200, {"problem": None})

    assert (
        client(gateway).call("PUT", "/output", b"\x00\xff", "application/octet-stream")
        == b'{"problem": null}'
    )

    (asked,) = gateway.asked
    assert (asked.method, asked.path, asked.body) == ("PUT", "/runner/v1/output", b"\x00\xff")
    assert asked.headers["Authorization"] == "Bearer the-token"
    assert (asked.headers["Parley-Store"], asked.headers["Parley-Nonce"]) == ("store-1", "nonce-1")
    assert asked.headers["Content-Type"] == "application/octet-stream"


def test_what_may_pass_is_repeated_with_the_same_body(gateway: PlainGateway) -> None:
    waits = Waits()
    for status in (503, 500, 429, 204, 502):
        gateway.answer(status)
    gateway.answer(503, None, Retry_After="7")

    client(gateway, waits).call("PUT", "/output", b"kept")

    assert [asked.body for asked in gateway.asked] == [b"kept"] * 7
    assert len(waits.slept) == 6
    assert waits.slept[-1] == 7
    assert max(waits.slept[:-1]) <= 5


def test_a_gateway_that_is_away_is_asked_until_it_is_back(gateway: PlainGateway) -> None:
    away = replace(gateway.settings, gateway_url="http://127.0.0.1:1")
    slept: list[float] = []

    def come_back(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            patient._settings = gateway.settings

    patient = PlainClient(away, "n", sleep=come_back)

    assert patient.call("GET", "/input") == b"{}"
    assert len(slept) == 3


@pytest.mark.parametrize(
    ("status", "raised"),
    [(409, StopRunning), (410, StopRunning), (413, TooLarge), (422, Rejected), (404, Rejected)],
)
def test_what_is_final_is_not_repeated(gateway: PlainGateway, status: int, raised: type[Exception]) -> None:
    gateway.answer(status, {"title": "Told", "reason": "PodLost", "detail": "so"})

    with pytest.raises(raised, match="PodLost: so"):
        client(gateway).call("GET", "/input")

    assert len(gateway.asked) == 1


def test_an_answer_that_is_no_problem_is_told_by_its_status(gateway: PlainGateway) -> None:
    gateway.answer(410, ["?"])

    with pytest.raises(StopRunning, match="HTTP status 410"):
        client(gateway).call("GET", "/input")


def test_a_token_that_is_refused_is_tried_for_a_minute(gateway: PlainGateway) -> None:
    waits = Waits()
    for _ in range(1000):
        gateway.answer(401, {"title": "Not authenticated"})

    with pytest.raises(NotAdmitted, match="Not authenticated"):
        client(gateway, waits).call("GET", "/input")

    assert NOT_ADMITTED_SECONDS <= waits.clock() <= NOT_ADMITTED_SECONDS + 5


def test_a_token_that_cannot_be_read_is_one_that_is_refused(gateway: PlainGateway) -> None:
    gateway.settings.token_file.unlink()

    with pytest.raises(NotAdmitted, match="token cannot be read"):
        client(gateway).call("GET", "/input")

    assert gateway.asked == []


def test_it_drags_in_nothing_that_takes_long_to_import() -> None:
    """The container waits for the helpers: they start in a twentieth of a second."""
    import subprocess
    import sys

    code = (
        "import sys; import parley.runner.output_file, parley.runner.input_file, parley.runner.main; "
        "print(sorted({'pydantic', 'httpx2', 'pydantic_ai', 'asyncio'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
