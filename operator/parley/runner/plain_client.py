"""A client of the gateway that starts in no time: for the helpers beside a user's container, which wait for them.

The same verdicts as the runner's own client, in standard library only and one call after the other.
"""

import http.client
import json
import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast
from urllib.parse import urlsplit

from parley.runner.settings import RunnerSettings
from parley.runner.verdicts import (
    FIRST_WAIT_SECONDS,
    LONGEST_WAIT_SECONDS,
    NOT_ADMITTED_SECONDS,
    NotAdmitted,
    Verdict,
    judge,
    retry_after,
)

SOCKET_SECONDS = 30.0
"""For connecting, and for each part of a request and of its answer."""

log = logging.getLogger(__name__)


class _Answer(NamedTuple):
    status: int
    body: bytes
    retry_after: float

    def explain(self) -> str:
        try:
            problem = json.loads(self.body)
        except ValueError:
            problem = None
        if not isinstance(problem, dict):
            return f"HTTP status {self.status}"
        said = cast("Mapping[str, object]", problem)
        return ": ".join(
            str(part) for part in (said.get("reason") or said.get("title"), said.get("detail")) if part
        )


class PlainClient:
    """Calls with the pod's token.

    Args:
        settings: where the gateway is.
        nonce: tells this process from another in the same pod.
        sleep: for tests.
        clock: monotonic seconds, for tests.
    """

    def __init__(
        self,
        settings: RunnerSettings,
        nonce: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._nonce = nonce
        self._sleep = sleep
        self._clock = clock

    def call(
        self, method: str, path: str, body: bytes | None = None, content_type: str = "application/json"
    ) -> bytes:
        """Make one call, repeating it as long as it makes sense; returns the answer's body.

        Raises:
            StopRunning, NotAdmitted, TooLarge, Rejected: see ``verdicts``.
        """
        refused_since: float | None = None
        wait = FIRST_WAIT_SECONDS
        while True:
            asked_to_wait = 0.0
            verdict = Verdict.REPEAT
            try:
                token = self._settings.token_file.read_text(encoding="ascii").strip()
            except OSError as error:
                verdict, why = Verdict.REFUSED, f"the pod's token cannot be read: {error}"
            else:
                try:
                    answer = self._send(method, path, token, body, content_type)
                except (OSError, http.client.HTTPException) as error:
                    why = f"{type(error).__name__}: {error}"
                else:
                    verdict = judge(answer.status, answer.explain)
                    if verdict is Verdict.DONE:
                        return answer.body
                    why, asked_to_wait = answer.explain(), answer.retry_after
            if verdict is not Verdict.REFUSED:
                refused_since = None
            elif refused_since is None:
                refused_since = self._clock()
            elif self._clock() - refused_since >= NOT_ADMITTED_SECONDS:
                raise NotAdmitted(why)
            log.warning("the gateway is asked again", extra={"path": path, "why": why})
            self._sleep(max(asked_to_wait, wait * random.uniform(0.5, 1.0)))  # noqa: S311 - jitter
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)

    def _send(self, method: str, path: str, token: str, body: bytes | None, content_type: str) -> _Answer:
        url = urlsplit(self._settings.gateway_url)
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = kind(url.hostname or "", url.port, timeout=SOCKET_SECONDS)
        headers = {
            "Authorization": f"Bearer {token}",
            "Parley-Store": self._settings.store_id,
            "Parley-Nonce": self._nonce,
            "Content-Type": content_type,
        }
        try:
            connection.request(method, f"{url.path}/runner/v1{path}", body=body, headers=headers)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        return _Answer(response.status, content, retry_after(response.headers.get("Retry-After") or ""))
