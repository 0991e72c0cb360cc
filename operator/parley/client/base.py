"""What both clients are: where the gateway is, who asks, and the operations."""

import secrets
from collections.abc import Callable, Mapping
from importlib.metadata import version
from types import NoneType

import httpx2
from pydantic import ValidationError

from parley.api.common import (
    IDEMPOTENCY_HEADER,
    MAX_IDEMPOTENCY_KEY,
    MAX_USER_ID,
    USER_HEADER,
    ApiModel,
)
from parley.api.transfer import JSON_LINES
from parley.client import operations
from parley.client.errors import InvalidRequest, ParleyError, Unreachable
from parley.client.operation import Endpoint, Request
from parley.client.patience import Patience, Retries

TIMEOUT = httpx2.Timeout(30.0, connect=5.0)
SILENCE = httpx2.Timeout(45.0, connect=5.0)
"""Of a stream: the gateway says something every 15 seconds."""

Token = str | Callable[[], str]
"""A bearer token, or what gives one when it is needed: those of a cluster expire."""


class Operations:
    """The operations of the gateway's API; see ``parley.client.operations`` for their parameters."""

    list_sessions = operations.list_sessions
    create_session = operations.create_session
    get_session = operations.get_session
    update_session = operations.update_session
    delete_session = operations.delete_session
    get_context = operations.get_context
    update_context = operations.update_context
    list_tasks = operations.list_tasks
    get_task = operations.get_task
    get_attempt_log = operations.get_attempt_log
    create_reply = operations.create_reply
    list_waiting = operations.list_waiting
    list_events = operations.list_events
    post_message = operations.post_message


class Base(Operations):
    """What the clients share. See ``Parley``."""

    def __init__(
        self, url: str, token: Token | None, *, namespace: str, user: str | None, retries: Retries | None
    ) -> None:
        self.url = url.rstrip("/")
        self.namespace = namespace
        self._token = token
        self._user = user
        self.retries = retries or Retries()

    def patience(self, endpoint: Endpoint, request: Request | None = None) -> Patience:
        """What a request may wait for."""
        if request is not None and not isinstance(request.content, (bytes, NoneType)):
            # What was read once cannot be sent again.
            return Patience(Retries(attempts=1), repeatable=False)
        return Patience(self.retries, endpoint.repeatable)

    def url_of(self, endpoint: Endpoint, request: Request) -> str:
        """Where a request goes."""
        return self.url + endpoint.url(self.namespace, request.names)

    def headers(
        self, endpoint: Endpoint, request: Request, more: Mapping[str, str] | None = None
    ) -> httpx2.Headers:
        """What a request says of itself; the token is asked for anew.

        Raises:
            InvalidRequest: the token, the user or the key is none.
        """
        token = self._token() if callable(self._token) else self._token
        headers = {"User-Agent": f"parley-client/{version('parley')}", **(more or {})}
        if token:
            # Files with tokens end with a line break.
            headers["Authorization"] = f"Bearer {_printable('token', token.strip())}"
        if self._user:
            if not self._user.isprintable() or len(self._user) > MAX_USER_ID:
                raise InvalidRequest(f"it must be 1 to {MAX_USER_ID} printable characters", "user")
            headers[USER_HEADER] = self._user
        if endpoint.keyed:
            key = _printable("key", request.key or new_key())
            if len(key) > MAX_IDEMPOTENCY_KEY:
                raise InvalidRequest(f"it has {len(key)} characters, of {MAX_IDEMPOTENCY_KEY} at most", "key")
            headers[IDEMPOTENCY_HEADER] = key
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        if request.content is not None:
            headers["Content-Type"] = JSON_LINES
        # Ids of users may be of any script.
        return httpx2.Headers(headers, encoding="utf-8")

    def answer(self, endpoint: Endpoint, response: httpx2.Response) -> ApiModel | None:
        """What an answer says.

        Raises:
            ParleyError: that it was refused.
        """
        if not response.is_success:
            raise ParleyError.of(response)
        if endpoint.answer is None:
            return None
        try:
            return endpoint.answer.model_validate_json(response.content)
        except ValidationError as error:
            raise Unreachable(
                self.url, f"the answer is no {endpoint.answer.__name__}; is this a gateway of this version?"
            ) from error


def _printable(field: str, value: str) -> str:
    if not (value.isascii() and value.isprintable()):
        raise InvalidRequest("it must be printable characters of ASCII", field)
    return value


def content_of(request: Request) -> bytes | None:
    """A model as it is sent: fields that were not given are left out, so that null is said only on purpose."""
    if request.body is None:
        return None
    return request.body.model_dump_json(by_alias=True, exclude_unset=True).encode()


def new_key() -> str:
    """A key that no other request has."""
    return secrets.token_urlsafe(18)
