"""Parley's kinds: their names, what ``kubectl get`` prints of them, and by which fields they are selected."""

from dataclasses import dataclass

from pydantic import BaseModel, JsonValue

from parley.resources.agent import AgentSpec, AgentStatus
from parley.resources.common import DNS_LABEL, GROUP, rule
from parley.resources.reply import ReplySpec, ReplyStatus
from parley.resources.schedule import MAX_SCHEDULE_NAME, ScheduleSpec, ScheduleStatus
from parley.resources.session import SessionSpec, SessionStatus
from parley.resources.task import MAX_TASK_NAME, TaskSpec
from parley.resources.task_status import TaskStatus
from parley.resources.task_template import TaskTemplateSpec, TaskTemplateStatus


@dataclass(frozen=True, slots=True)
class Column:
    """A column of ``kubectl get``. Those of priority 1 show with ``-o wide``."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0
    description: str = ""

    def to_json(self) -> dict[str, JsonValue]:
        """As the CRD has it."""
        column: dict[str, JsonValue] = {"name": self.name, "type": self.type, "jsonPath": self.path}
        if self.description:
            column["description"] = self.description
        if self.priority:
            column["priority"] = self.priority
        return column


def _condition(column: str, kind: str, field: str, description: str, priority: int = 0) -> Column:
    return Column(
        column, f'.status.conditions[?(@.type=="{kind}")].{field}', priority=priority, description=description
    )


def _short_name(limit: int, named_after_it: str) -> dict[str, JsonValue]:
    return rule(
        f"size(self.metadata.name) <= {limit} && self.metadata.name.matches('{DNS_LABEL}')",
        f"metadata.name must be a DNS label of at most {limit} characters (a-z, 0-9, -): "
        f"{named_after_it} are named after it",
        field=".metadata.name",
    )


_AGE = Column("Age", ".metadata.creationTimestamp", "date")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a CRD says beside its schema."""

    name: str
    plural: str
    short_name: str
    description: str
    spec: type[BaseModel]
    status: type[BaseModel]
    columns: tuple[Column, ...]
    selectable: tuple[str, ...]
    rules: tuple[dict[str, JsonValue], ...] = ()

    @property
    def file_name(self) -> str:
        """Name of the CRD's file in ``crds/``."""
        return f"{self.plural}.{GROUP}.yaml"


KINDS = (
    Kind(
        name="Agent",
        plural="agents",
        short_name="ag",
        description="Agent is who answers: instructions and a language model.",
        spec=AgentSpec,
        status=AgentStatus,
        columns=(
            Column("Model", ".spec.model.name"),
            _condition("Ready", "Ready", "status", "Whether the agent can be used."),
            _condition("Reason", "Ready", "reason", "Why it is Ready or not."),
            Column("Sessions", ".status.sessions", "integer", 1),
            Column("Active", ".status.activeTasks", "integer", 1, "Tasks that have not ended."),
            _AGE,
        ),
        selectable=(),
    ),
    Kind(
        name="Session",
        plural="sessions",
        short_name="ses",
        description="Session is one conversation with an agent.",
        spec=SessionSpec,
        status=SessionStatus,
        columns=(
            Column(
                "Agent", ".status.agent", description="Who answers by default, and how many others there are."
            ),
            Column("Phase", ".status.phase"),
            _condition("Ready", "Ready", "status", "Whether the session takes messages."),
            Column("Messages", ".status.events.messages", "integer"),
            Column("Last", ".status.events.lastTime", "date", 0, "Age of the newest event."),
            _condition("Reason", "Ready", "reason", "Why it is Ready or not.", 1),
            _condition("Why", "Active", "reason", "Why it takes messages or not.", 1),
            _AGE,
        ),
        selectable=(".spec.agentRef.name", ".spec.desiredState", ".status.phase"),
    ),
    Kind(
        name="Task",
        plural="tasks",
        short_name="tk",
        description="Task is work with a beginning and an end: a message to an agent, or a graph of steps.",
        spec=TaskSpec,
        status=TaskStatus,
        columns=(
            Column("Session", ".spec.sessionRef.name"),
            Column(
                "Agent", ".status.agent", description="Who answers: the session's agent, or the task's own."
            ),
            Column("Parent", ".status.parent", description="The Task whose step this is."),
            Column("Phase", ".status.phase"),
            Column("Progress", ".status.progress", description="Steps that are done, of all steps."),
            _condition("Reason", "Succeeded", "reason", "Why the phase is what it is."),
            _condition("Message", "Succeeded", "message", "The reason in a sentence.", 1),
            Column(
                "Waiting", ".status.waiting[0].question", priority=1, description="What a person is asked."
            ),
            Column("Completed", ".status.completionTime", "date", 1),
            _AGE,
        ),
        selectable=(
            ".spec.sessionRef.name",
            ".spec.agentRef.name",
            ".spec.templateRef.name",
            ".spec.desiredState",
            ".status.phase",
            ".status.parent",
        ),
        rules=(_short_name(MAX_TASK_NAME, "its Jobs and pods"),),
    ),
    Kind(
        name="TaskTemplate",
        plural="tasktemplates",
        short_name="tt",
        description="TaskTemplate is what to do, for Tasks to give values to.",
        spec=TaskTemplateSpec,
        status=TaskTemplateStatus,
        columns=(
            _condition("Ready", "Ready", "status", "Whether Tasks can use the template."),
            _condition("Reason", "Ready", "reason", "Why it is Ready or not."),
            Column("Description", ".spec.description", priority=1),
            _AGE,
        ),
        selectable=(),
    ),
    Kind(
        name="Schedule",
        plural="schedules",
        short_name="sched",
        description="Schedule makes a Task again and again, at given times.",
        spec=ScheduleSpec,
        status=ScheduleStatus,
        columns=(
            Column("Schedule", ".spec.schedule"),
            Column("TimeZone", ".spec.timeZone"),
            Column("Suspend", ".spec.suspend", "boolean"),
            Column(
                "Last", ".status.lastScheduleTime", "date", 0, "Age of the newest time a Task was made for."
            ),
            Column("Next", ".status.nextScheduleTime", description="When the next Task is made."),
            _condition("Ready", "Ready", "status", "Whether Tasks are made at their times."),
            _condition("Reason", "Ready", "reason", "Why it is Ready or not.", 1),
            Column(
                "Active", ".status.active[*].name", priority=1, description="Its Tasks that have not ended."
            ),
            _AGE,
        ),
        selectable=(".spec.suspend",),
        rules=(_short_name(MAX_SCHEDULE_NAME, "its Tasks"),),
    ),
    Kind(
        name="Reply",
        plural="replies",
        short_name="rp",
        description="Reply is a person's answer to a question of a Task.",
        spec=ReplySpec,
        status=ReplyStatus,
        columns=(
            Column("Task", ".spec.taskRef.name"),
            Column("By", ".spec.by", description="Who replies."),
            _condition("Accepted", "Accepted", "status", "Whether it answered the question."),
            _condition("Reason", "Accepted", "reason", "Why it was accepted or not."),
            Column("WaitID", ".spec.waitID", priority=1, description="Which question it answers."),
            _condition("Message", "Accepted", "message", "The reason in a sentence.", 1),
            _AGE,
        ),
        selectable=(".spec.taskRef.name",),
    ),
)
