"""Tasks over HTTP: as Kubernetes shows them, and the audit trail of what ran."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from parley.api.common import ApiModel, ObjectMetadata
from parley.resources.common import Usage
from parley.resources.task import TaskSpec
from parley.resources.task_status import TaskStatus

MAX_TASK_PAGE = 100
DEFAULT_TASK_PAGE = 20

AttemptState = Literal["Open", "Running", "Succeeded", "Failed", "Paused", "Lost", "TimedOut", "Cancelled"]
AttemptCause = Literal["First", "Retry", "Disruption", "Resume"]
TaskEnd = Literal["Succeeded", "Failed", "Cancelled"]


class AttemptView(ApiModel):
    """One attempt of a step: what ran, why, and how it ended."""

    id: int
    step: str
    item: Annotated[int, Field(ge=0)] | None = Field(default=None, description="of a forEach, from 0")
    number: Annotated[int, Field(ge=1)]
    cause: AttemptCause
    state: AttemptState
    runtime: str = Field(description="Job, Task or Warm")
    job: str | None = Field(default=None, description="name of its Job, or of the Task that is its child")
    reason: str | None = None
    message: str | None = None
    exit_code: int | None = None
    created_at: AwareDatetime
    taken_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None
    usage: Usage = Usage()


class AttemptLog(ApiModel):
    """The end of what an attempt's container wrote."""

    id: int = Field(description="of the attempt")
    log: str | None = Field(
        default=None,
        description="Absent where none is kept: it has not ended, it ran no container of the Task's, its log could not "
        "be read or was erased, or the installation keeps none.",
    )


class TaskAudit(ApiModel):
    """A Task as Postgres keeps it: also once the object is gone."""

    name: str
    uid: str
    created_at: AwareDatetime
    gone_since: AwareDatetime | None = Field(default=None, description="when the object was seen to be gone")
    ended_at: AwareDatetime | None = None
    phase: TaskEnd | None = Field(default=None, description="absent while it goes on")
    reason: str | None = None
    message: str | None = None
    parent: str | None = Field(default=None, description="uid of the Task whose step it is")
    usage: Usage = Field(default=Usage(), description="of its attempts")
    attempts: list[AttemptView] = Field(description="in the order in which they were made")
    attempts_cut: bool = Field(default=False, description="True: only the newest are shown")


class TaskAuditList(ApiModel):
    """A page of a session's Tasks, newest first."""

    items: list[TaskAudit]
    next_page_token: str | None = None


class TaskView(ApiModel):
    """A Task as Kubernetes holds it, with its attempts as Postgres does."""

    metadata: ObjectMetadata
    spec: TaskSpec | None = Field(
        default=None, description="absent where this gateway cannot read it; the status says what is wrong"
    )
    status: TaskStatus
    attempts: list[AttemptView] = Field(description="in the order in which they were made")
    attempts_cut: bool = Field(default=False, description="True: only the newest are shown")
