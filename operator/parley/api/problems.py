"""Errors as people and programs read them (RFC 9457)."""

from typing import Annotated

from pydantic import Field

from parley.api.common import ApiModel

PROBLEM_JSON = "application/problem+json"


class ApiProblem(ApiModel):
    """What is wrong, and what to do about it."""

    type: str = Field(default="about:blank", description="nothing but reason tells problems apart")
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str = Field(default="", description="what is wrong and what to do, in sentences")
    field: str | None = Field(default=None, description="what in the request is meant, such as spec.user.id")
    reason: str | None = Field(default=None, description="in one word, for programs; part of the API")
