"""Bounds of a conversation: how long it lives, how much of it the model is shown, how long it is kept."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from parley.resources.common import Duration, ResourceModel, at_least, duration_of_at_least, parse_duration

RetentionTime = Annotated[str, duration_of_at_least("1h"), at_least("1h")]


class ContextOverflow(StrEnum):
    """What becomes of a conversation that is longer than its token budget, or its window."""

    TRUNCATE = "Truncate"
    SUMMARIZE = "Summarize"
    FAIL = "Fail"


class SessionLimits(ResourceModel):
    """Bounds of the conversation."""

    idle_timeout: Duration | None = Field(
        default=None,
        description="How long after the last activity the session becomes Dormant, such as 1h; the next message wakes "
        "it. Default: never.",
    )
    expire_after: Duration | None = Field(
        default=None,
        description="How long after the last activity the session ends for good, such as 720h. Default: never.",
    )
    max_messages: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None,
        description="How many messages the session may hold; a turn after that fails with MessageLimit. Default: no "
        "limit.",
    )
    context_window: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None,
        description="How many of the newest messages the model is shown, at most 2 MiB of them. Default: 1000.",
    )
    token_budget: Annotated[int, Field(ge=100, le=100_000_000)] | None = Field(
        default=None,
        description="How many tokens one request to the model may have, estimated from its length (4 bytes a token): "
        "system prompt, tools, conversation and this turn. Default: no limit.",
    )
    context_overflow: ContextOverflow = Field(
        default=ContextOverflow.TRUNCATE,
        description="What becomes of a longer conversation. Truncate: the oldest is left out. Summarize: the model "
        "sums up what is left out. Fail: the turn fails with BudgetExceeded. Default: Truncate.",
    )

    def idle_timeout_or_none(self) -> timedelta | None:
        """How long after its last activity the session sleeps; None: never."""
        return parse_duration(self.idle_timeout) if self.idle_timeout else None

    def expire_after_or_none(self) -> timedelta | None:
        """How long after its last activity the session ends; None: never."""
        return parse_duration(self.expire_after) if self.expire_after else None


class TranscriptRetention(StrEnum):
    """What becomes of the transcript when the Session object is gone."""

    DELETE = "Delete"
    RETAIN = "Retain"


class Retention(ResourceModel):
    """How long what was said is kept."""

    transcript: TranscriptRetention = Field(
        default=TranscriptRetention.DELETE,
        description="Delete: the transcript is erased some time after the Session object is gone. Retain: it is kept. "
        "Default: Delete.",
    )
    after: RetentionTime = Field(
        default="720h", description="How long after that it is erased, at least 1h. Default: 720h."
    )
    max_age: RetentionTime | None = Field(
        default=None,
        description="What is older is erased while the session lives, at least 1h; numbers and times stay. Default: "
        "never.",
    )

    @property
    def after_gone(self) -> timedelta | None:
        """How long after the object is gone the transcript is erased; None: it is kept."""
        return None if self.transcript is TranscriptRetention.RETAIN else parse_duration(self.after)

    def max_age_or_none(self) -> timedelta | None:
        """How old what was said may grow; None: as old as it likes."""
        return parse_duration(self.max_age) if self.max_age else None
