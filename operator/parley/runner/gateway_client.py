"""The runner's side of the protocol: one method per call, repeated until the gateway has said what to do.

What an answer means is one table, ``verdicts``; the protocol's errors are ``StopRunning``, ``NotAdmitted``,
``TooLarge`` and ``Rejected``. All else (no connection, 429, 5xx) is repeated with the same body as long as
the pod lives: the operator ends the pod, and the store answers a repeat with what it holds.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from parley.protocol.messages import (
    NONCE_HEADER,
    STORE_HEADER,
    CallBody,
    ContextBody,
    DeltaAnswer,
    DeltaBody,
    FinishAnswer,
    FinishBody,
    InputAnswer,
    InputBody,
    PauseAnswer,
    PauseBody,
    Problem,
    ResponseBody,
    StoredAnswer,
    TakeAnswer,
    TakeBody,
)
from parley.runner.settings import RunnerSettings
from parley.runner.verdicts import (
    FIRST_WAIT_SECONDS,
    LONGEST_WAIT_SECONDS,
    NOT_ADMITTED_SECONDS,
    NotAdmitted,
    Rejected,
    StopRunning,
    TooLarge,
    Verdict,
    judge,
    retry_after,
)

__all__ = ["GatewayClient", "NotAdmitted", "Rejected", "StopRunning", "TooLarge"]

REQUEST_SECONDS = 60.0
"""For one request in all, so that a gateway that stalls is asked again."""
DELTA_SECONDS = 2.0
"""For a piece of an answer, which is worth nothing later."""
KEEP_ALIVE_SECONDS = 60.0
"""How long an idle connection is kept; the gateway closes them later."""

Answer = TypeVar("Answer", bound=BaseModel)

log = logging.getLogger(__name__)


def _explanation(response: httpx2.Response) -> str:
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return f"HTTP status {response.status_code}"
    return ": ".join(filter(None, [problem.reason or problem.title, problem.detail]))


def _read(answer: type[Answer], content: bytes) -> Answer:
    try:
        return answer.model_validate_json(content)
    except ValidationError as error:
        wrong = [".".join(str(part) for part in one["loc"]) for one in error.errors(include_input=False)]
        message = f"its answer is not understood at {', '.join(wrong[:5])}: gateway and runner may differ in version"
        raise Rejected(message) from None


class GatewayClient:
    """Calls as one holder: the pod's token and this process's nonce.

    Args:
        settings: where the gateway is.
        nonce: told to the gateway with every call; it tells this process from another in the same pod.
        sleep: for tests.
        clock: monotonic seconds, for tests.
        transport: instead of the network, for tests.
        http: another holder's connections, which are shared.
    """

    def __init__(
        self,
        settings: RunnerSettings,
        nonce: str,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        transport: httpx2.AsyncBaseTransport | None = None,
        http: httpx2.AsyncClient | None = None,
    ) -> None:
        self._settings = settings
        self._nonce = nonce
        self._sleep = sleep
        self._clock = clock
        self._ahead = timedelta()
        # The gateway is in the cluster: a proxy from the environment would be in the way.
        self._http = http or httpx2.AsyncClient(
            base_url=f"{settings.gateway_url}/runner/v1",
            timeout=httpx2.Timeout(REQUEST_SECONDS, connect=5.0),
            trust_env=False,
            # Where no TLS is spoken, no certificates need be read, which takes as long as many a request.
            verify=settings.gateway_url.startswith("https:"),
            transport=transport,
            # Each slot of a warm runner may have a request that waits, and one under way.
            limits=httpx2.Limits(
                max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEP_ALIVE_SECONDS
            ),
        )

    def with_nonce(self, nonce: str) -> "GatewayClient":
        """Call as another holder of this process, over the same connections; only one of the clients is closed."""
        return GatewayClient(self._settings, nonce, sleep=self._sleep, clock=self._clock, http=self._http)

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    def now(self) -> datetime:
        """The gateway's time, as its answers' Date tells it: deadlines are not on this node's clock."""
        return datetime.now(UTC) + self._ahead

    async def take(self) -> TakeAnswer:
        """Get the attempt that this pod's Job was made for."""
        return await self._call("POST", "/take", None, TakeAnswer)

    async def take_next(self, wait_seconds: int) -> TakeAnswer | None:
        """Get the next attempt of this pod's task or pool, or the one it has; None if none is ready in time."""
        return await self._take(TakeBody(wait=wait_seconds))

    async def take_own(self) -> TakeAnswer | None:
        """Get the attempt of its pool that this holder has; None if it has none."""
        return await self._take(TakeBody(wait=0, own=True))

    async def _take(self, body: TakeBody) -> TakeAnswer | None:
        content = await self._repeat("POST", "/take", body, may_be_nothing=True)
        return None if content is None else _read(TakeAnswer, content)

    async def tell(self, attempt: int, body: DeltaBody) -> bool:
        """Pass on what the model says while it says it; returns whether anybody watches. Never repeated."""
        content = body.model_dump_json(by_alias=True).encode()
        try:
            async with asyncio.timeout(DELTA_SECONDS):
                response = await self._send("POST", f"/attempts/{attempt}/deltas", content)
            return response.status_code < 300 and DeltaAnswer.model_validate_json(response.content).wanted
        except (httpx2.HTTPError, OSError, TimeoutError, ValidationError) as error:
            log.info(
                "a piece of an answer was not passed on", extra={"why": str(error) or type(error).__name__}
            )
            return False

    async def heartbeat(self, attempt: int) -> None:
        """Say that the attempt goes on."""
        await self._repeat("POST", f"/attempts/{attempt}/heartbeat", None)

    async def input(self, attempt: int, body: InputBody) -> InputAnswer:
        """Store the turn's messages, or get those that an earlier attempt stored."""
        return await self._call("POST", f"/attempts/{attempt}/input", body, InputAnswer)

    async def journal_response(self, attempt: int, round_number: int, body: ResponseBody) -> StoredAnswer:
        """Journal a response that contains calls."""
        return await self._call("PUT", f"/attempts/{attempt}/journal/{round_number}", body, StoredAnswer)

    async def journal_call(self, attempt: int, round_number: int, call: int, body: CallBody) -> StoredAnswer:
        """Journal that a call begins, or its result."""
        path = f"/attempts/{attempt}/journal/{round_number}/calls/{call}"
        return await self._call("PUT", path, body, StoredAnswer)

    async def update_context(
        self, attempt: int, round_number: int, call: int, body: ContextBody
    ) -> StoredAnswer:
        """Change the session's context for a call; the answer is the call's result."""
        path = f"/attempts/{attempt}/journal/{round_number}/calls/{call}/context"
        return await self._call("PUT", path, body, StoredAnswer)

    async def pause(self, attempt: int, body: PauseBody) -> PauseAnswer:
        """Commit that the attempt waits for its calls."""
        return await self._call("POST", f"/attempts/{attempt}/pause", body, PauseAnswer)

    async def finish(self, attempt: int, body: FinishBody) -> FinishAnswer:
        """Commit the outcome."""
        return await self._call("POST", f"/attempts/{attempt}/finish", body, FinishAnswer)

    async def _call(self, method: str, path: str, body: BaseModel | None, answer: type[Answer]) -> Answer:
        return _read(answer, await self._repeat(method, path, body) or b"")

    async def _repeat(
        self, method: str, path: str, body: BaseModel | None, *, may_be_nothing: bool = False
    ) -> bytes | None:
        """Make one call of the protocol, repeating it as long as it makes sense.

        Returns:
            The answer's body; None for the answer that there is nothing, which only some calls take for one.

        Raises:
            StopRunning, NotAdmitted, TooLarge, Rejected: see there.
        """
        # Only what was set: of a call's entry one field is given, and null would be a value of the other.
        content = None if body is None else body.model_dump_json(by_alias=True, exclude_unset=True).encode()
        refused_since: float | None = None
        wait = FIRST_WAIT_SECONDS
        while True:
            asked_to_wait = 0.0
            verdict = Verdict.REPEAT
            try:
                response = await self._send(method, path, content)
            except (httpx2.HTTPError, TimeoutError) as error:
                why = f"{type(error).__name__}: {error}"
            except OSError as error:
                verdict, why = Verdict.REFUSED, f"the pod's token cannot be read: {error}"
            else:
                verdict = judge(response.status_code, partial(_explanation, response))
                if verdict is Verdict.DONE:
                    return response.content
                if verdict is Verdict.NOTHING_YET and may_be_nothing:
                    return None
                why = _explanation(response)
                asked_to_wait = retry_after(response.headers.get("Retry-After", ""))
            if verdict is not Verdict.REFUSED:
                refused_since = None
            elif refused_since is None:
                refused_since = self._clock()
            elif self._clock() - refused_since >= NOT_ADMITTED_SECONDS:
                raise NotAdmitted(why)
            pause = max(asked_to_wait, wait * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            log.warning("the gateway is asked again", extra={"path": path, "why": why})
            await self._sleep(pause)
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)

    async def _send(self, method: str, path: str, content: bytes | None) -> httpx2.Response:
        # Read each time: the kubelet renews the token in place.
        token = self._settings.token_file.read_text(encoding="ascii").strip()
        headers = {
            "Authorization": f"Bearer {token}",
            STORE_HEADER: self._settings.store_id,
            NONCE_HEADER: self._nonce,
            "Content-Type": "application/json",
        }
        async with asyncio.timeout(REQUEST_SECONDS):
            response = await self._http.request(method, path, content=content, headers=headers)
        self._note_time(response)
        return response

    def _note_time(self, response: httpx2.Response) -> None:
        try:
            told = parsedate_to_datetime(response.headers.get("Date", ""))
        except ValueError:
            return
        ahead = told - datetime.now(UTC)
        # Date has whole seconds: a smaller difference is none.
        self._ahead = ahead if abs(ahead) > timedelta(seconds=2) else timedelta()
