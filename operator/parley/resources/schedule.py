"""Schedule: a Task again and again, at given times."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from parley.resources.common import (
    KEEP_DEFAULT,
    Condition,
    Conditions,
    Duration,
    ObservedGeneration,
    ResourceModel,
    StatusModel,
    Timestamp,
    parse_duration,
    rule,
    rules,
)
from parley.resources.task import TASK_RULES, TaskSpec

MAX_SCHEDULE_NAME = 41
"""Characters: its Tasks' names add eleven and may have 52."""
MAX_STATUS_ACTIVE = 64
MAX_RUN_NOW = 256
"""Characters of the run-now annotation that count."""
RUN_NOW_ANNOTATION = "parley.dev/run-now"
"""Any new text in it runs the task once more, at once."""

_LABEL_KEY = "^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
_KEYS = f"self.all(k, size(k) <= 317 && k.matches('{_LABEL_KEY}'))"
_NOT_RESERVED = "self.all(k, !k.startsWith('parley.dev/'))"
_RESERVED = "keys that begin with parley.dev/ are reserved: choose another"


class ConcurrencyPolicy(StrEnum):
    """What happens at a time when a Task of an earlier one has not ended."""

    ALLOW = "Allow"
    FORBID = "Forbid"
    REPLACE = "Replace"


class ScheduledTaskSpec(TaskSpec):
    """A Task's spec, as a Schedule holds it: it may be changed."""

    model_config = ConfigDict(json_schema_extra=rules(*TASK_RULES))


LabelValue = Annotated[str, Field(max_length=63, pattern="^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")]


class ScheduledTaskMetadata(ResourceModel):
    """Labels and annotations of the Tasks."""

    labels: Annotated[dict[str, LabelValue], Field(max_length=32)] = Field(
        default_factory=dict,
        description="Labels of the Tasks.",
        json_schema_extra=rules(
            rule(
                _KEYS, "a key must be that of a label: a-z, 0-9, -, _, . and at most one prefix with a slash"
            ),
            rule(_NOT_RESERVED, _RESERVED),
        ),
    )
    annotations: Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=32)] = Field(
        default_factory=dict,
        description="Annotations of the Tasks.",
        json_schema_extra=rules(
            rule(
                _KEYS,
                "a key must be that of an annotation: letters, 0-9, -, _, . and at most one prefix with a slash",
            ),
            rule(_NOT_RESERVED, _RESERVED),
        ),
    )


class ScheduledTask(ResourceModel):
    """The Task to make."""

    metadata: ScheduledTaskMetadata | None = Field(
        default=None, description="Labels and annotations of the Tasks."
    )
    spec: ScheduledTaskSpec = Field(description="Spec of the Tasks; a change counts from the next time on.")


class ScheduleSpec(ResourceModel):
    """When to make a Task, and which."""

    schedule: str = Field(
        min_length=1,
        max_length=256,
        description="When, as cron has it: minute, hour, day of the month, month, day of the week, such as "
        '"0 9 * * 1-5".',
        json_schema_extra=rules(
            rule("!self.contains('TZ=')", "write the time zone into timeZone, not into schedule"),
            rule(
                "self.contains('TZ=') || self.matches('^[^ ]+( +[^ ]+){4}$')",
                "a schedule has five fields: minute, hour, day of the month, month, day of the week",
            ),
        ),
    )
    time_zone: str = Field(
        default="Etc/UTC",
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$",
        description="Name of the time zone the schedule is in, such as Europe/Berlin. Default: Etc/UTC.",
        json_schema_extra={KEEP_DEFAULT: True},
    )
    suspend: bool = Field(
        default=False,
        description="True: no Tasks are made; those that were made go on. Times that pass meanwhile are missed.",
        json_schema_extra={KEEP_DEFAULT: True},
    )
    concurrency_policy: ConcurrencyPolicy = Field(
        default=ConcurrencyPolicy.ALLOW,
        description="When a Task of an earlier time has not ended. Allow: both run. Forbid: the new one waits for "
        "its end, as long as startingDeadline lets it. Replace: the old one is cancelled. Default: Allow.",
    )
    starting_deadline: Duration | None = Field(
        default=None,
        description="How late a Task may be made, such as 10m, when the operator was away at its time. Default: "
        "however late; of several missed times only the last is made up for.",
    )
    successful_tasks_history_limit: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=3, description="How many of its Tasks that succeeded are kept. Default: 3."
    )
    failed_tasks_history_limit: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=1, description="How many of its Tasks that failed or were cancelled are kept. Default: 1."
    )
    task_template: ScheduledTask = Field(description="The Task to make.")

    def starting_deadline_or_none(self) -> timedelta | None:
        """How late a Task may be made; None: however late."""
        return parse_duration(self.starting_deadline) if self.starting_deadline else None


class ActiveTask(StatusModel):
    """A Task of the schedule that has not ended."""

    name: str = Field(max_length=253, description="Its name.")
    uid: str = Field(max_length=64, description="Its uid.")


class ScheduleStatus(StatusModel):
    """What the operator last saw of the schedule."""

    observed_generation: ObservedGeneration = None
    conditions: Conditions = Field(
        default_factory=list[Condition], description="Ready is True while Tasks are made at their times."
    )
    last_schedule_time: Timestamp | None = Field(
        default=None, description="The newest time at which a Task was made."
    )
    next_schedule_time: Timestamp | None = Field(default=None, description="When the next Task is made.")
    last_run_now: str | None = Field(
        default=None, max_length=MAX_RUN_NOW, description="The run-now annotation that was last acted upon."
    )
    active: Annotated[list[ActiveTask], Field(max_length=MAX_STATUS_ACTIVE)] = Field(
        default_factory=list[ActiveTask],
        description="Its Tasks that have not ended, oldest first; at most 64.",
    )
