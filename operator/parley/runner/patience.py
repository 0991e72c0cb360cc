"""Asking a flaky model again: backoff, the server's own Retry-After, and an end."""

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable

from parley.protocol.messages import MAX_RETRY_AFTER_SECONDS
from parley.resources.reasons import Reason
from parley.runner.chat import ModelFailure, ModelReply
from parley.runner.failure import StepFailure

MAX_TRIES = 5
MAX_WAITED_SECONDS = 60.0
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 20.0

log = logging.getLogger(__name__)


async def ask_patiently(
    ask: Callable[[], Awaitable[ModelReply]],
    *,
    model: str,
    remaining: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> ModelReply:
    """Ask until there is an answer: at most 5 tries and 60 s of waiting, never past the attempt's deadline.

    Args:
        ask: one request.
        model: name and server of the model, for the message.
        remaining: seconds until the attempt's deadline.
        sleep: for tests.

    Raises:
        StepFailure: ModelError, or ModelRateLimited if the server's last word was to slow down.
    """
    waited = 0.0
    for tries in range(1, MAX_TRIES + 1):
        try:
            return await ask()
        except ModelFailure as failure:
            backoff = min(FIRST_WAIT_SECONDS * 2 ** (tries - 1), LONGEST_WAIT_SECONDS)
            wait = max(_asked_to_wait(failure) or 0.0, backoff * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            last = tries == MAX_TRIES or waited + wait > MAX_WAITED_SECONDS or wait >= remaining()
            if last or not failure.retryable:
                raise _outcome(failure, model, tries) from failure
            log.warning(
                "the model failed, it is asked again",
                extra={"tries": tries, "status": failure.status, "wait_seconds": round(wait, 2)},
            )
            waited += wait
            await sleep(wait)
    raise AssertionError("the last try raises")


def _outcome(failure: ModelFailure, model: str, tries: int) -> StepFailure:
    asked = f" ({tries} tries)" if tries > 1 else ""
    asked_to_wait = _asked_to_wait(failure)
    limited = failure.rate_limited and failure.retryable
    return StepFailure(
        Reason.MODEL_RATE_LIMITED if limited else Reason.MODEL_ERROR,
        f"model {model} {failure.message}{asked}",
        definite=not failure.retryable,
        retry_after=None if asked_to_wait is None else math.ceil(asked_to_wait),
    )


def _asked_to_wait(failure: ModelFailure) -> float | None:
    """Seconds the server asked to wait, at most a day: a server may say anything, also nan."""
    seconds = failure.retry_after
    if seconds is None or math.isnan(seconds):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)
