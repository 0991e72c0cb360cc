"""What a Task's status shows."""

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, JsonValue

from parley.resources.common import (
    MAP_BY_NAME,
    MAP_TYPE,
    Condition,
    Conditions,
    ObservedGeneration,
    StatusModel,
    Timestamp,
    Usage,
)
from parley.resources.flow import Choice
from parley.resources.steps import MAX_STEPS, StepName

MAX_STEP_MESSAGE = 256
"""Bytes of a step's message in the status."""
MAX_STATUS_ATTEMPTS = 3
"""Newest attempts of a step in the status; in all the steps together at most 64."""
MAX_WAITING = 8
MAX_STATUS_QUESTION = 512
"""Bytes of a question in the status."""
MAX_STATUS_ARGUMENTS = 512
"""Bytes of a tool call's arguments in the status, as compact JSON."""


class TaskPhase(StrEnum):
    """Where the task stands, in one word."""

    PENDING = "Pending"
    QUEUED = "Queued"
    RUNNING = "Running"
    WAITING_FOR_INPUT = "WaitingForInput"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


class StepPhase(StrEnum):
    """Where a step stands, in one word."""

    PENDING = "Pending"
    QUEUED = "Queued"
    RUNNING = "Running"
    WAITING = "Waiting"
    """For a person, an instant, or the next attempt; the reason says which."""
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    SKIPPED = "Skipped"


class ItemCounts(StatusModel):
    """The items of a ``forEach``, by how they stand."""

    total: int = Field(default=0, ge=0, description="All items.")
    succeeded: int = Field(default=0, ge=0, description="Items that succeeded.")
    failed: int = Field(default=0, ge=0, description="Items that failed for good.")
    active: int = Field(default=0, ge=0, description="Items that run now.")


class AttemptStatus(StatusModel):
    """One attempt of a step."""

    number: int = Field(ge=0, description="Number of the attempt, of its step or item: 1, 2, 3 …")
    item: int | None = Field(
        default=None, ge=0, description="Index of its item, from 0. Absent without forEach."
    )
    phase: StepPhase = Field(description="Where the attempt stands.")
    reason: str | None = Field(default=None, max_length=64, description="Why it stands so, in one word.")
    message: str | None = Field(
        default=None, max_length=MAX_STEP_MESSAGE, description="Why it stands so, for people."
    )
    exit_code: int | None = Field(default=None, description="Exit code of its container.")
    start_time: Timestamp | None = Field(default=None, description="When it began.")
    completion_time: Timestamp | None = Field(default=None, description="When it ended.")


class StepStatus(StatusModel):
    """How one step stands."""

    # One writer replaces a step's entry whole; a second owner of one leaf would wedge server-side apply.
    model_config = ConfigDict(json_schema_extra={MAP_TYPE: "atomic"})

    name: StepName = Field(description="Name of the step.")
    phase: StepPhase = Field(description="Where the step stands.")
    attempt: int = Field(default=0, ge=0, description="Number of the newest attempt; 0: none yet.")
    job: str | None = Field(default=None, max_length=253, description="Name of the newest attempt's Job.")
    task: str | None = Field(default=None, max_length=253, description="Name of the Task that the step runs.")
    items: ItemCounts | None = Field(default=None, description="Its items, where it has forEach.")
    attempts: Annotated[list[AttemptStatus], Field(max_length=MAX_STATUS_ATTEMPTS)] | None = Field(
        default=None, description="Its newest attempts, oldest first. All of them are in the store."
    )
    start_time: Timestamp | None = Field(default=None, description="When the first attempt began.")
    completion_time: Timestamp | None = Field(default=None, description="When the step ended.")
    reason: str | None = Field(
        default=None, max_length=64, description="Why it stands so, in one word; part of the API."
    )
    message: str | None = Field(
        default=None, max_length=MAX_STEP_MESSAGE, description="Why it stands so, for people."
    )
    output: JsonValue = Field(
        default=None, description="What it gave, where it is at most 1 KiB; the whole is in the store."
    )
    truncated: bool | None = Field(default=None, description="True: the output or the message is cut.")


class WaitingKind(StrEnum):
    """What a person is asked for."""

    QUESTION = "Question"
    APPROVAL = "Approval"


class WaitingEntry(StatusModel):
    """One question that waits for a Reply."""

    id: str = Field(
        max_length=64, description="What a Reply names as its waitID. Another run of the task has others."
    )
    step: StepName = Field(description="The step that asks.")
    item: int | None = Field(
        default=None, ge=0, description="Index of its item, from 0. Absent without forEach."
    )
    kind: WaitingKind = Field(description="Question: of a wait step. Approval: of a tool call.")
    call: str | None = Field(
        default=None, max_length=512, description="Name of the tool to approve a call of."
    )
    arguments: Annotated[str, Field(max_length=MAX_STATUS_ARGUMENTS)] | None = Field(
        default=None,
        description="The call's arguments, as JSON, cut at 512 bytes; the whole is in the store.",
    )
    question: str = Field(max_length=MAX_STATUS_QUESTION, description="What is asked.")
    choices: Annotated[list[Choice], Field(max_length=16)] | None = Field(
        default=None, description="The answers to choose from. Absent: the answer is a value."
    )
    since: Timestamp = Field(description="When it was asked.")
    deadline: Timestamp | None = Field(default=None, description="When it is too late.")
    truncated: bool | None = Field(default=None, description="True: the arguments or the question are cut.")


class TaskStatus(StatusModel):
    """What the operator last saw of the task."""

    observed_generation: ObservedGeneration = None
    phase: TaskPhase | None = Field(
        default=None, description="Where the task stands; for people. Programs read the conditions."
    )
    conditions: Conditions = Field(
        default_factory=list[Condition],
        description="Succeeded: how the work ended (Unknown before). Ready: True once Succeeded, or "
        "Cancelled as asked. Reconciling: True while work goes on. Stalled: True when it failed for good. "
        "WaitingForInput: True while a step waits for a person's reply. Pruned: True once its Jobs were removed.",
    )
    start_time: Timestamp | None = Field(default=None, description="When its first step began.")
    completion_time: Timestamp | None = Field(default=None, description="When it ended.")
    progress: str | None = Field(
        default=None, max_length=16, description="Steps that are done, of all steps, such as 1/3."
    )
    agent: str | None = Field(default=None, max_length=253, description="Name of the Agent that answers.")
    parent: str | None = Field(
        default=None, max_length=253, description="Name of the Task whose step this is."
    )
    steps: Annotated[
        list[StepStatus],
        Field(max_length=MAX_STEPS, json_schema_extra=MAP_BY_NAME),
    ] = Field(default_factory=list[StepStatus], description="How each step stands, in the order of the spec.")
    waiting: Annotated[list[WaitingEntry], Field(max_length=MAX_WAITING)] | None = Field(
        default=None, description="What waits for a person's Reply, oldest first; at most 8."
    )
    waiting_total: int | None = Field(
        default=None, ge=0, description="How many questions wait, where they are more than are shown."
    )
    output: JsonValue = Field(
        default=None, description="What it gave, where it is at most 8 KiB; the whole is in the store."
    )
    truncated: bool | None = Field(default=None, description="True: the output is cut.")
    usage: Usage | None = Field(default=None, description="Tokens of all its attempts.")
