"""Exit codes: 0 with an outcome or told to stop, 1 without, 143 for SIGTERM; never 64."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from parley.runner import process
from parley.runner.chat import ModelReply
from parley.runner.process import run_to_end
from parley.runner.settings import RunnerSettings, SettingsError

from tests.unit.runner.fake_gateway import FakeGateway
from tests.unit.runner.fake_model import FakeModel, reply
from tests.unit.runner.step_story import step_of


@pytest.fixture
def why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """What the runner told the kubelet about its end."""
    path = tmp_path / "termination-log"
    path.touch()
    monkeypatch.setattr(process, "TERMINATION_LOG", path)
    return path.read_text


async def test_a_success_ends_with_0(gateway: FakeGateway) -> None:
    assert await run_to_end(step_of(gateway, FakeModel(reply("hello")))) == 0
    assert gateway.outcome is not None


async def test_a_failure_that_the_store_holds_ends_with_0(gateway: FakeGateway) -> None:
    assert await run_to_end(step_of(gateway, FakeModel(reply("")))) == 0
    assert gateway.outcome is not None
    assert gateway.outcome["outcome"] == "Failed"


@pytest.mark.parametrize("call", ["take", "input", "finish"])
@pytest.mark.parametrize("status", [409, 410])
async def test_told_to_stop_ends_with_0(
    gateway: FakeGateway, call: str, status: int, why: Callable[[], str]
) -> None:
    gateway.fail(call, status, stop=True)

    assert await run_to_end(step_of(gateway, FakeModel(reply("hello")))) == 0
    assert gateway.outcome is None
    assert why() == ""


@pytest.mark.parametrize("call", ["take", "input", "finish"])
async def test_not_admitted_ends_with_1_and_says_why(
    gateway: FakeGateway, call: str, why: Callable[[], str]
) -> None:
    gateway.fail(call, 401, times=1000, detail="no such token")

    assert await run_to_end(step_of(gateway, FakeModel(reply("hello")))) == 1
    assert gateway.outcome is None
    assert why() == "the gateway refuses this pod: Planned: no such token"


async def test_a_take_that_is_rejected_ends_with_1(gateway: FakeGateway, why: Callable[[], str]) -> None:
    gateway.fail("take", 400, detail="what is this")

    assert await run_to_end(step_of(gateway, FakeModel())) == 1
    assert "what is this" in why()


async def test_an_answer_of_another_version_ends_with_1_and_names_the_field(
    gateway: FakeGateway, why: Callable[[], str]
) -> None:
    gateway.fail("take", 200)

    assert await run_to_end(step_of(gateway, FakeModel())) == 1
    assert "not understood at attempt, number, deadline" in why()


async def test_an_outcome_that_cannot_be_committed_ends_with_1(
    gateway: FakeGateway, why: Callable[[], str]
) -> None:
    gateway.fail("finish", 422, times=2)

    assert await run_to_end(step_of(gateway, FakeModel(reply("hello")))) == 1
    assert why() != ""


async def test_sigterm_while_the_model_thinks_ends_with_143_and_writes_no_outcome(
    gateway: FakeGateway,
) -> None:
    class Thinking(FakeModel):
        async def ask(self, *_: object, **__: object) -> ModelReply:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()
            raise AssertionError

    model = Thinking()

    assert await run_to_end(step_of(gateway, model)) == 143
    assert gateway.calls() == ["take", "input"]
    assert model.closed


async def test_sigterm_while_an_outcome_is_committed_lets_it_through(gateway: FakeGateway) -> None:
    gateway.fail("finish", 503, times=3)
    gateway.on_request = lambda call: os.kill(os.getpid(), signal.SIGTERM) if call == "finish" else None

    assert await run_to_end(step_of(gateway, FakeModel(reply("hello")))) == 0
    assert gateway.outcome is not None


async def test_a_commit_that_does_not_succeed_in_time_after_sigterm_ends_with_143(
    gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parley.runner.step.COMMIT_GRACE_SECONDS", 0.05)
    gateway.fail("finish", 503, times=10**6)
    gateway.on_request = lambda call: os.kill(os.getpid(), signal.SIGTERM) if call == "finish" else None

    assert await run_to_end(step_of(gateway, FakeModel(reply("hello")))) == 143
    assert gateway.outcome is None


def test_the_command_says_which_variable_is_missing() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
    command = [sys.executable, "-m", "parley.runner.main"]
    run = subprocess.run(
        [*command, "step"], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    usage = subprocess.run(
        [*command, "walk"], env=environment, capture_output=True, text=True, timeout=120, check=False
    )

    assert run.returncode == 1
    assert "PARLEY_GATEWAY_URL is not set" in run.stderr
    assert usage.returncode == 1
    assert "usage: parley-runner step|serve|warm|input|output" in usage.stderr


def test_settings_come_from_the_environment_and_hide_the_key() -> None:
    settings = RunnerSettings.from_environment(
        {
            "PARLEY_GATEWAY_URL": "http://gateway:8080/",
            "PARLEY_STORE_ID": "s",
            "PARLEY_MODEL_API_KEY_1F": "sk-1",
        }
    )

    assert settings.gateway_url == "http://gateway:8080"
    assert settings.token_file == Path("/var/run/secrets/parley.dev/token")
    assert settings.secrets == {"PARLEY_MODEL_API_KEY_1F": "sk-1"}
    assert "sk-1" not in repr(settings)
    with pytest.raises(SettingsError, match="PARLEY_STORE_ID"):
        RunnerSettings.from_environment({"PARLEY_GATEWAY_URL": "http://gateway"})
