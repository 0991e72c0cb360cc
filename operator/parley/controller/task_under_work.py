"""One Task during one reconcile: what was read of it, and what was found out while its plans were carried out."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from parley.controller.resource import Resource
from parley.controller.slots import Claim
from parley.engine.state import Hold
from parley.resources.agent import AgentSpec
from parley.resources.session import SessionSpec, SessionUser
from parley.resources.task import Step, TaskSpec


@dataclass(slots=True)
class TaskUnderWork:
    """One Task during one reconcile.

    Attributes:
        spec: what it runs: of a Task with a ``templateRef`` the template's task, with its own values laid over it.
        registered: the spec as it goes into the store, and is read from there as long as the task lives.
        agent: who answers: of several agents of its session the one it names, else the first.
        speaker: the person who says what it says, if its session names anybody.
        template_schemas: by TaskTemplate, what its inputs must be, for the tools of the agent that queue such Tasks.
        unusable: what is wrong in the specs of its session and its agent.
        misfit: why it can never run in the session that is there, or without one.
        denied: steps whose start the store refused in this reconcile.
        requests: requests of attempts inserted in this reconcile, by the attempt's id.
        looked: Jobs whose pods were read from the API server in this reconcile.
        refusals: by Job name, why the API server refused to make it in this reconcile.
        child_refusals: by the name of a child Task, why it can never be made.
        left_to_runners: steps whose next attempt a warm runner is about to take.
    """

    resource: Resource
    spec: TaskSpec
    steps: list[Step]
    problems: tuple[str, ...]
    registered: Mapping[str, JsonValue]
    session: Resource | None = None
    agent: Resource | None = None
    agent_name: str | None = None
    session_spec: SessionSpec | None = None
    agent_spec: AgentSpec | None = None
    speaker: SessionUser | None = None
    template_schemas: dict[str, dict[str, JsonValue]] = field(default_factory=dict[str, dict[str, JsonValue]])
    claim: Claim | None = None
    unusable: list[str] = field(default_factory=list[str])
    misfit: str | None = None
    denied: dict[str, Hold] = field(default_factory=dict[str, Hold])
    requests: dict[int, Mapping[str, JsonValue]] = field(default_factory=dict[int, Mapping[str, JsonValue]])
    looked: set[str] = field(default_factory=set[str])
    refusals: dict[str, str] = field(default_factory=dict[str, str])
    child_refusals: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def title(self) -> str:
        """Its namespace and name, for messages."""
        return f"Task {self.resource.namespace}/{self.resource.name}"

    left_to_runners: set[str] = field(default_factory=set[str])
