"""The runner's process: from its environment to its exit code.

Exit codes: 0 when the store holds an outcome for each attempt or the runner was told to stop, 1 when it could
not commit one, 143 when a SIGTERM came first, which the operator takes for a disruption. Never 64.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
from pathlib import Path
from typing import Literal, Protocol

from parley.protocol.messages import LIVENESS_PORT
from parley.runner.gateway_client import GatewayClient, NotAdmitted, Rejected, StopRunning, TooLarge
from parley.runner.liveness import answering
from parley.runner.log import start_log
from parley.runner.quick_start import STARTING_SECONDS, end_start
from parley.runner.serve import Serving
from parley.runner.settings import RunnerSettings, SettingsError
from parley.runner.step import StepRun

EXIT_DONE = 0
EXIT_UNCOMMITTED = 1
EXIT_TERMINATED = 128 + signal.SIGTERM
TERMINATION_LOG = Path("/dev/termination-log")
_SIGNALS = (signal.SIGTERM, signal.SIGINT)

Command = Literal["step", "serve", "warm"]

log = logging.getLogger(__name__)


class Work(Protocol):
    """What a runner does: one attempt, one after the other, or several at a time."""

    @property
    def committing(self) -> bool:
        """An outcome is known and on its way to the store."""
        ...

    def wind_down(self) -> float:
        """Begin nothing new; returns how many seconds that which is under way may still take."""
        ...

    async def run(self) -> None:
        """Do it to the end."""
        ...


def run_process(command: Command = "step") -> int:
    """Run what the command says as the environment says; returns the exit code."""
    start_log()
    try:
        settings = RunnerSettings.from_environment(os.environ)
    except SettingsError as error:
        return _uncommitted(str(error))
    return asyncio.run(_run(settings, command))


async def _run(settings: RunnerSettings, command: Command) -> int:
    asyncio.get_running_loop().call_later(STARTING_SECONDS, end_start)
    gateway = GatewayClient(settings, secrets.token_hex(8))
    try:
        async with contextlib.AsyncExitStack() as stack:
            if command == "warm":
                port = LIVENESS_PORT if settings.liveness_port is None else settings.liveness_port
                await stack.enter_async_context(answering(port))
            return await run_to_end(_work(command, gateway, settings))
    finally:
        with contextlib.suppress(Exception):
            await gateway.close()


def _work(command: Command, gateway: GatewayClient, settings: RunnerSettings) -> Work:
    match command:
        case "step":
            return StepRun(gateway, settings.secrets)
        case "serve":
            return Serving(gateway, settings.secrets)
        case "warm":
            from parley.runner.warm import Warm  # noqa: PLC0415 - a step's pod starts without it

            return Warm(gateway, settings.secrets, settings.slots)


async def run_to_end(runner: Work) -> int:
    """Run until all is committed, the gateway says stop, or SIGTERM; returns the exit code."""
    work = asyncio.create_task(runner.run())
    loop = asyncio.get_running_loop()

    def terminate() -> None:
        log.warning("asked to terminate", extra={"committing": runner.committing})
        loop.call_later(runner.wind_down(), work.cancel)

    for number in _SIGNALS:
        loop.add_signal_handler(number, terminate)
    try:
        await work
    except StopRunning as stop:
        log.info("told to stop", extra={"why": str(stop)})
    except asyncio.CancelledError:
        return EXIT_TERMINATED
    except (NotAdmitted, Rejected, TooLarge) as error:
        return _uncommitted(f"the gateway refuses this pod: {error}")
    except Exception as error:
        log.exception("the runner failed")
        return _uncommitted(f"the runner failed: {type(error).__name__}")
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
    return EXIT_DONE


def _uncommitted(why: str) -> int:
    log.error("no outcome was committed", extra={"why": why})
    # The operator shows this file's text as the step's message; outside a pod there is none.
    if TERMINATION_LOG.exists():
        with contextlib.suppress(OSError):
            TERMINATION_LOG.write_text(why, encoding="utf-8", errors="replace")
    return EXIT_UNCOMMITTED
