"""Refusals of a person's request. Each says what is wrong and what to do."""

from collections.abc import Mapping
from http import HTTPStatus

from parley.api.problems import ApiProblem


class Refusal(Exception):
    """The request is answered with this problem.

    Args:
        status: of HTTP, 4xx, or 503 with a ``Retry-After``.
        detail: what is wrong and what to do.
        reason: in one word, for programs.
        field: what in the request is meant.
        headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        reason: str | None = None,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.problem = ApiProblem(
            title=HTTPStatus(status).phrase, status=status, detail=detail, reason=reason, field=field
        )
        self.headers = dict(headers or {})


def unauthenticated(detail: str) -> Refusal:
    """Refuse who brings no good token (401)."""
    return Refusal(
        401, detail, reason="Unauthenticated", headers={"WWW-Authenticate": 'Bearer realm="parley"'}
    )


def bad_request(field: str, detail: str, *, reason: str = "BadRequest") -> Refusal:
    """Refuse what is malformed (400)."""
    return Refusal(400, detail, reason=reason, field=field)


def not_found(kind: str, namespace: str, name: str = "") -> Refusal:
    """Say that a thing does not exist, or that the caller may not know of it (404): which of the two is not told."""
    named = f'{kind} "{name}" in namespace "{namespace}"' if name else f'{kind} in namespace "{namespace}"'
    detail = f"{named}: it does not exist, or you may not see it. Check the names, and ask whoever runs the namespace."
    return Refusal(404, detail, reason="NotFound")


def forbidden(verb: str, resource: str, namespace: str) -> Refusal:
    """Refuse a verb to somebody who may see the thing (403)."""
    detail = (
        f'you may not {verb} {resource} in namespace "{namespace}": ask for a role with the verb {verb} on {resource} '
        "in the API group parley.dev"
    )
    return Refusal(403, detail, reason="Forbidden")


def conflict(detail: str, *, reason: str, field: str | None = None) -> Refusal:
    """Refuse what does not fit what is there (409)."""
    return Refusal(409, detail, reason=reason, field=field)


def too_many(detail: str, seconds: int) -> Refusal:
    """Send somebody away who asks too much (429)."""
    return Refusal(429, detail, reason="TooManyRequests", headers={"Retry-After": str(max(1, seconds))})
