"""The class of the routes for people: who calls and how often, before a body is read; then the body, strictly."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError

from parley.api.problems import ApiProblem
from parley.gateway.access.bodies import read_json
from parley.gateway.access.people import people_of
from parley.gateway.access.refusal import bad_request

_ONCE = ("Authorization", "Parley-User", "Idempotency-Key", "Last-Event-ID", "Content-Type")


class PeopleRoute(APIRoute):
    """Identifies the caller, counts the request, and holds a JSON body to its model without coercion.

    A route without a model of its body reads it by itself, such as one that takes a stream.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Put all of it before FastAPI's own handler, which begins with the body."""
        handle = super().get_route_handler()
        field = self.body_field
        model = None if field is None else field.field_info.annotation
        body: TypeAdapter[Any] | None = None if model is None else TypeAdapter(model)

        async def identified(request: Request) -> Response:
            people = people_of(request)
            for name in _ONCE:
                if len(request.headers.getlist(name)) > 1:
                    raise bad_request(name, f"the header {name} stands more than once: send it once")
            person = await people.callers.identify(request.headers.get("Authorization"))
            request.state.person = person
            people.rates.take(person.username)
            if body is not None:
                raw = await read_json(request, people.body_seconds)
                try:
                    # FastAPI validates Python objects, where "true" may pass for true.
                    body.validate_json(raw, strict=True)
                except ValidationError as error:
                    found = [
                        {**item, "loc": ("body", *item["loc"])}
                        for item in error.errors(include_url=False, include_input=False)
                    ]
                    raise RequestValidationError(found) from None
            return await handle(request)

        return identified


_STATUSES = {
    400: "malformed: a header, a token of a page, or the body's JSON",
    401: "no token, or none that the API server takes",
    403: "the caller may see it, and may not do this with it",
    404: "it does not exist, or the caller may not see it",
    408: "the body did not arrive in time",
    413: "larger than is taken",
    415: "the body is not sent as what it must be",
    422: "a field is malformed, or the API server refuses what was asked for",
    429: "too much at once: wait for Retry-After seconds",
    503: "Postgres or the API server is away: repeat the same request after Retry-After seconds",
}
CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {
        "model": ApiProblem,
        "description": "it does not fit what is there, or the key was used for another body",
    }
}
"""For routes that may meet a conflict."""


def people_router() -> APIRouter:
    """Make a router for people's requests in a namespace."""
    return APIRouter(
        prefix="/v1/namespaces/{namespace}",
        tags=["people"],
        route_class=PeopleRoute,
        responses={
            status: {"model": ApiProblem, "description": description}
            for status, description in _STATUSES.items()
        },
    )
