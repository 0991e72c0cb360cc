"""What goes wrong between a client and the gateway."""

from collections.abc import Generator
from contextlib import contextmanager

import httpx2
from pydantic import ValidationError

from parley.api.problems import ApiProblem


class ParleyError(Exception):
    """A request was not done: the gateway refused, could not be reached, or was never asked.

    Attributes:
        problem: what is wrong and what to do, as the gateway says it.
        request_id: by which its log knows the request.
    """

    def __init__(self, problem: ApiProblem, request_id: str | None = None) -> None:
        super().__init__(problem.title, problem.detail)
        self.problem = problem
        self.request_id = request_id

    @classmethod
    def of(cls, response: httpx2.Response) -> "ParleyError":
        """The error that an answer is; its body must have been read."""
        try:
            problem = ApiProblem.model_validate_json(response.content)
        except ValidationError:
            text = response.text.strip()[:200] or response.reason_phrase
            problem = ApiProblem(title="Refused", status=max(response.status_code, 400), detail=text)
        return cls(problem, response.headers.get("X-Request-ID"))

    @property
    def status(self) -> int:
        """HTTP status."""
        return self.problem.status

    @property
    def reason(self) -> str | None:
        """In one word, for programs."""
        return self.problem.reason

    def __str__(self) -> str:
        where = f"{self.problem.field}: " if self.problem.field else ""
        detail = f": {self.problem.detail}" if self.problem.detail else ""
        return f"{where}{self.problem.title}{detail} ({self.problem.status})"


class InvalidRequest(ParleyError, ValueError):
    """The client refuses: no gateway would take this, so nothing was sent.

    Its ``problem`` is as a gateway's would be (422, ``field``), without the value, which may be part of a conversation.
    """

    def __init__(self, why: str, field: str | None = None) -> None:
        super().__init__(
            ApiProblem(title="Not sent", status=422, detail=why, field=field, reason="InvalidRequest")
        )


@contextmanager
def checking() -> Generator[None]:
    """Make what a model refuses within the block an ``InvalidRequest``."""
    try:
        yield
    except ValidationError as error:
        wrong = [
            (_path(one["loc"]), one["msg"].removeprefix("Value error, "))
            for one in error.errors(include_url=False, include_input=False)
        ]
        first, why = wrong[0]
        # The field is said before the sentence; those of further ones stand in it.
        more = "".join(f"; {path}: {message}" for path, message in wrong[1:])
        raise InvalidRequest(why + more, first or None) from error


def _path(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


class Unreachable(ParleyError):
    """Nobody answers, or not in time, or what answers is no gateway. Whether the request was done is not known."""

    def __init__(self, url: str, why: str) -> None:
        problem = ApiProblem(
            title="The gateway cannot be reached",
            status=503,
            detail=f"{url}: {why}",
            reason="Unreachable",
        )
        super().__init__(problem)
