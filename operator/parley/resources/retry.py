"""Retry: how often, how late and for which causes a failed attempt is repeated."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from parley.resources.common import Duration, ResourceModel, parse_duration


class RetryCause(StrEnum):
    """A group of reasons for which an attempt may be repeated."""

    ERROR = "Error"
    """Error, ExitCode, ModelError, ModelRateLimited, SchemaMismatch, ToolError."""
    OOM_KILLED = "OOMKilled"
    TIMEOUT = "Timeout"
    """StepTimeout."""


DEFAULT_CAUSES = (RetryCause.ERROR, RetryCause.TIMEOUT)


class Backoff(ResourceModel):
    """How long to wait before the next attempt."""

    initial: Duration = Field(default="10s", description="Before the first retry. Default: 10s.")
    factor: Annotated[int, Field(ge=1, le=10)] = Field(
        default=2, description="Each wait is so many times as long as the one before. Default: 2."
    )
    max: Duration = Field(default="5m", description="The longest wait. Default: 5m.")

    def delay(self, retry: int) -> timedelta:
        """How long to wait before a retry; the first retry is 1."""
        initial, longest = parse_duration(self.initial), parse_duration(self.max)
        delay = initial
        for _ in range(1, retry):
            if delay >= longest:
                break
            delay *= self.factor
        return min(delay, longest)


class Retry(ResourceModel):
    """When a failed attempt is repeated."""

    limit: Annotated[int, Field(ge=0, le=20)] = Field(
        default=0,
        description="How many retries there are at most, for each item. Lost pods are repeated beside it. "
        "Default: 0.",
    )
    backoff: Backoff = Field(default_factory=Backoff, description="How long to wait before the next attempt.")
    # Not called "on": YAML 1.1, which kubectl reads, takes that key for true.
    causes: Annotated[list[RetryCause], Field(min_length=1, max_length=3)] = Field(
        default_factory=lambda: list(DEFAULT_CAUSES),
        description="Which failures are repeated: Error (also the model's, and an exit code), OOMKilled, Timeout. "
        "Exit code 64 never is. Default: Error and Timeout.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
