"""What an operation of the gateway's API is, once for both clients.

An ``Operation`` is a descriptor: of a ``Parley`` it is a method that returns the answer, of an ``AsyncParley`` one that
returns an awaitable of it, with the same parameters.
"""

import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast, overload
from urllib.parse import quote

from parley.api.common import ApiBody, ApiModel
from parley.client.errors import InvalidRequest, checking

P = ParamSpec("P")
T = TypeVar("T")
ROOT = "/v1/namespaces/{namespace}"


@dataclass(frozen=True, slots=True)
class Request:
    """One call of an operation.

    Attributes:
        names: what stands for the names in braces of its path.
        query: parameters; those that are None or empty are left out.
        body: None where there is none.
        key: for Idempotency-Key; None: the client makes one up, where the operation takes one.
        content: a body that is no model; what is iterated over can be sent only once.
    """

    names: Mapping[str, str] = field(default_factory=dict[str, str])
    query: Sequence[tuple[str, str | int | None]] = ()
    body: ApiBody | None = None
    key: str | None = None
    content: bytes | Iterable[bytes] | AsyncIterable[bytes] | None = None

    def parameters(self) -> list[tuple[str, str | int | float | None]]:
        """The query as it is sent."""
        return [(name, value) for name, value in self.query if value not in {None, ""}]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an operation is.

    Attributes:
        method: HTTP method.
        path: from ``ROOT`` on.
        body: the model of its body; None: it has none.
        answer: the model of its answer; None: it has none, or streams.
        keyed: it takes an Idempotency-Key, and so may be repeated.
        repeats: it may be repeated without one.
    """

    method: str
    path: str
    body: type[ApiBody] | None = None
    answer: type[ApiModel] | None = None
    keyed: bool = False
    repeats: bool = False

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice does no more than sending it once."""
        return self.keyed or self.repeats or self.method in {"GET", "DELETE"}

    def url(self, namespace: str, names: Mapping[str, str]) -> str:
        """The path for these names; whatever is in a name, it stays one part of the path.

        Raises:
            InvalidRequest: one of them is no name.
        """
        filled: dict[str, str] = {}
        for key, value in (*names.items(), ("namespace", namespace)):
            try:
                filled[key] = quote(value, safe="")
            except UnicodeEncodeError as error:
                raise InvalidRequest("this is no text that UTF-8 can write: give a name", key) from error
            # A dot by itself would be taken for the folder above.
            if value in {"", ".", ".."}:
                raise InvalidRequest(f"it is {value!r}: give a name", key)
        return (ROOT + self.path).format(**filled)


class SyncSender(Protocol):
    """A client that answers at once."""

    def send(self, endpoint: Endpoint, request: Request) -> ApiModel | None:
        """Send a request; return its answer."""
        ...


class AsyncSender(Protocol):
    """A client that answers in time."""

    async def send_async(self, endpoint: Endpoint, request: Request) -> ApiModel | None:
        """Send a request; return its answer."""
        ...


class Operation(Generic[P, T]):
    """See the module."""

    def __init__(self, endpoint: Endpoint, build: Callable[P, Request]) -> None:
        self.endpoint = endpoint
        self._build = build
        update_wrapper(cast("Any", self), build)

    @overload
    def __get__(self, client: SyncSender, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: AsyncSender, owner: type) -> Callable[P, Awaitable[T]]: ...
    @overload
    def __get__(self, client: None, owner: type) -> "Operation[P, T]": ...
    def __get__(
        self, client: SyncSender | AsyncSender | None, owner: type
    ) -> "Callable[P, T] | Callable[P, Awaitable[T]] | Operation[P, T]":
        """Bind it to a client."""
        if client is None:
            return self
        build, endpoint = self._build, self.endpoint
        # Either its answer, or an awaitable of it: the overloads say which.
        send = getattr(client, "send", None) or cast("Any", client).send_async

        def call(*arguments: P.args, **options: P.kwargs) -> T:
            with checking():
                request = build(*arguments, **options)
            return send(endpoint, request)

        call.__doc__, call.__name__ = build.__doc__, build.__name__
        cast("Any", call).__signature__ = inspect.signature(build)
        return call


def operation(
    method: str,
    path: str,
    answer: type[T],
    *,
    body: type[ApiBody] | None = None,
    keyed: bool = False,
) -> Callable[[Callable[P, Request]], Operation[P, T]]:
    """Make an operation of a function that builds its requests; ``answer`` is NoneType where there is none."""
    model = cast("type[ApiModel]", answer) if issubclass(answer, ApiModel) else None
    endpoint = Endpoint(method, path, body, model, keyed)

    def make(build: Callable[P, Request]) -> Operation[P, T]:
        return Operation(endpoint, build)

    return make
