"""Errors as problem+json: for the runner one status for each thing it must do, for people what to do in words."""

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from psycopg import DataError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from parley.api.problems import PROBLEM_JSON, ApiProblem
from parley.gateway.access.errors import of_kubernetes, of_store
from parley.gateway.access.refusal import Refusal
from parley.kube.errors import KubeError, KubeUnavailable
from parley.protocol.messages import Problem
from parley.store.errors import (
    ContextChanged,
    KeyReused,
    NotAllowed,
    OtherHolder,
    ResultTooLarge,
    SessionNotReady,
    SessionOver,
    Stopped,
    StoreError,
    StoreUnavailable,
    TranscriptConflict,
)

RETRY_AFTER_SECONDS = 2
PEOPLE_PREFIX = "/v1/"
"""Begins the paths of what is for people and programs."""
_WHAT_TO_DO = {
    404: "there is no such path: /openapi.json lists all of them",
    405: "this path has other methods: the header Allow names them",
}

log = logging.getLogger("parley.gateway")


class NotAuthenticated(Exception):
    """There is no token, or the API server does not know it as one for Parley (401)."""


class NotAStep(Exception):
    """The token is good, but its pod is not a running step of a Task (403)."""


class BadCall(Exception):
    """A header or a body is not what the protocol says (400)."""


class OtherStore(Exception):
    """The caller's attempt is in another store than this gateway's (503: never 404 or stop)."""


class Busy(Exception):
    """There is no room for the call now (503)."""


def problem_response(problem: Problem | ApiProblem, headers: dict[str, str] | None = None) -> JSONResponse:
    """Answer with a problem."""
    return JSONResponse(
        problem.model_dump(by_alias=True, exclude_none=True),
        status_code=problem.status,
        headers=headers,
        media_type=PROBLEM_JSON,
    )


def unavailable(title: str, detail: str) -> JSONResponse:
    """Tell the caller to repeat the same request soon."""
    problem = Problem(title=title, status=503, detail=detail)
    return problem_response(problem, {"Retry-After": str(RETRY_AFTER_SECONDS)})


def _told(
    request: Request, status: int, detail: str, *, title: str, reason: str, advice: str
) -> JSONResponse:
    """Answer a runner with a title and what is wrong, a person with a reason and what to do as well."""
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == 503 else None
    if _is_for_people(request):
        refusal = Refusal(status, f"{detail}: {advice}", reason=reason)
        return problem_response(refusal.problem, headers)
    return problem_response(Problem(title=title, status=status, detail=detail), headers)


async def _refused(_: Request, refusal: Refusal) -> JSONResponse:
    return problem_response(refusal.problem, refusal.headers)


async def _not_authenticated(request: Request, error: NotAuthenticated) -> JSONResponse:
    log.warning("refused %s %s: %s", request.method, request.url.path, error)
    problem = Problem(title="Not authenticated", status=401, detail=str(error))
    return problem_response(problem, {"WWW-Authenticate": "Bearer"})


async def _not_a_step(request: Request, error: NotAStep) -> JSONResponse:
    log.warning("refused %s %s: %s", request.method, request.url.path, error)
    return problem_response(Problem(title="Not a step's pod", status=403, detail=str(error)))


async def _bad_call(_: Request, error: BadCall) -> JSONResponse:
    return problem_response(Problem(title="Bad request", status=400, detail=str(error)))


async def _malformed(request: Request, error: RequestValidationError) -> JSONResponse:
    # Where and what, never the value: it may be part of a conversation.
    named = _path if _is_for_people(request) else _dotted
    wrong = [(named(one["loc"]), str(one["msg"]).removeprefix("Value error, ")) for one in error.errors()]
    detail = "; ".join(f"{path}: {message}" for path, message in wrong)[:2000]
    if _is_for_people(request):
        refusal = Refusal(422, detail, reason="Invalid", field=wrong[0][0] if wrong else None)
        return problem_response(refusal.problem)
    return problem_response(Problem(title="Malformed request", status=422, detail=detail))


def _dotted(location: Iterable[int | str]) -> str:
    return ".".join(str(part) for part in location)


def _path(location: Iterable[int | str]) -> str:
    """Write where something is wrong: ``body.spec.users[0].id``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


def _is_for_people(request: Request) -> bool:
    return request.url.path.startswith(PEOPLE_PREFIX)


async def _of_store(request: Request, error: StoreError) -> JSONResponse:
    refusal = of_store(error)
    return await (_fault(request, error) if refusal is None else _refused(request, refusal))


async def _not_storable(request: Request, error: DataError) -> JSONResponse:
    # Never its text, which may hold the value. A repeat would fail alike, so it is not for the caller to try again.
    log.error("the store cannot hold what %s %s sent: %s", request.method, request.url.path, error.sqlstate)
    detail = f"the store cannot hold a value of this body ({type(error).__name__}, {error.sqlstate})"
    advice = "send another, such as text without control characters and numbers within the usual bounds"
    return _told(request, 422, detail, title="Not storable", reason="NotStorable", advice=advice)


async def _not_allowed(request: Request, error: NotAllowed) -> JSONResponse:
    # A runner never asks for it of its own accord: either its versions differ, or somebody tries to go round a person.
    log.warning("refused %s %s: %s", request.method, request.url.path, error)
    return problem_response(Problem(title="Not allowed", status=422, detail=str(error), reason="NotAllowed"))


async def _other_store(_: Request, error: OtherStore) -> JSONResponse:
    return unavailable("Another store", str(error))


async def _no_store(request: Request, error: StoreUnavailable) -> JSONResponse:
    log.warning("the store is unavailable: %s", error)
    return _told(
        request,
        503,
        "the database cannot be used now",
        title="The store is unavailable",
        reason="StoreUnavailable",
        advice="repeat the same request",
    )


async def _busy(request: Request, error: Busy) -> JSONResponse:
    return _told(
        request, 503, str(error), title="The gateway is busy", reason="Busy", advice="repeat the same request"
    )


async def _other_holder(_: Request, error: OtherHolder) -> JSONResponse:
    detail = str(error) or "another process holds the attempt"
    return problem_response(
        Problem(title="Another holder", status=409, detail=detail, stop=True, reason="OtherHolder")
    )


async def _stopped(_: Request, error: Stopped) -> JSONResponse:
    return problem_response(
        Problem(title="Stopped", status=410, detail=str(error), stop=True, reason=error.reason)
    )


async def _too_large(request: Request, error: ResultTooLarge) -> JSONResponse:
    if _is_for_people(request):
        return await _of_store(request, error)
    problem = Problem(title="Too large", status=413, detail=str(error), reason="ResultTooLarge")
    return problem_response(problem)


async def _no_kubernetes(request: Request, error: KubeError) -> JSONResponse:
    if _is_for_people(request):
        return await _refused(request, of_kubernetes(error))
    # Anything but an outage is a right the gateway lacks: the caller can only wait until somebody mends it.
    level = logging.WARNING if isinstance(error, KubeUnavailable) else logging.ERROR
    log.log(level, "the API server did not answer: %s", error)
    return unavailable("The API server did not answer", "it cannot be asked whose the token is")


async def _http_error(_: Request, error: HTTPException) -> JSONResponse:
    detail = _WHAT_TO_DO.get(error.status_code, "")
    problem = ApiProblem(title=str(error.detail), status=error.status_code, detail=detail)
    return problem_response(problem, dict(error.headers) if error.headers else None)


async def _left(_: Request, __: ClientDisconnect) -> JSONResponse:
    # Nobody hears it; the count of requests does.
    return problem_response(ApiProblem(title="Left", status=400, detail="the body was cut off: send it all"))


async def _fault(request: Request, error: Exception) -> JSONResponse:
    log.error("a fault in %s %s", request.method, request.url.path, exc_info=error)
    return _told(
        request,
        500,
        f"a fault in the gateway ({type(error).__name__})",
        title="Fault in the gateway",
        reason="InternalError",
        advice="tell whoever runs Parley when it was and what you asked for; the gateway's log says more",
    )


_HANDLERS: list[tuple[type[Exception], Callable[[Request, Any], Awaitable[JSONResponse]]]] = [
    (Refusal, _refused),
    (NotAuthenticated, _not_authenticated),
    (NotAStep, _not_a_step),
    (BadCall, _bad_call),
    (RequestValidationError, _malformed),
    (DataError, _not_storable),
    (OtherStore, _other_store),
    (StoreUnavailable, _no_store),
    (Busy, _busy),
    (NotAllowed, _not_allowed),
    (OtherHolder, _other_holder),
    (Stopped, _stopped),
    (ResultTooLarge, _too_large),
    (ContextChanged, _of_store),
    (KeyReused, _of_store),
    (SessionNotReady, _of_store),
    (SessionOver, _of_store),
    (TranscriptConflict, _of_store),
    (KubeError, _no_kubernetes),
    (HTTPException, _http_error),
    (ClientDisconnect, _left),
    (Exception, _fault),
]


def add_problem_handlers(app: FastAPI) -> None:
    """Make every error of the app a problem."""
    for kind, handler in _HANDLERS:
        app.add_exception_handler(kind, handler)
