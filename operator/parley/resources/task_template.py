"""TaskTemplate: what to do, for Tasks to give values to."""

from pydantic import ConfigDict, Field

from parley.resources.common import (
    Condition,
    Conditions,
    FreeObject,
    ObservedGeneration,
    ResourceModel,
    StatusModel,
    rule,
    rules,
)
from parley.resources.task import USER_WITHOUT_SESSION, TaskFields, TaskSpec


class TemplateTask(TaskFields):
    """A Task's spec without templateRef and desiredState; whoever uses it may give the agent."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.message) != has(self.steps)",
                "a TaskTemplate's task has exactly one of message and steps",
            ),
            rule("!has(self.user) || has(self.sessionRef)", USER_WITHOUT_SESSION, field=".user"),
        ),
    )


class TaskTemplateSpec(ResourceModel):
    """What to do, and which inputs it needs. Tasks that have begun keep what they began with."""

    description: str = Field(default="", max_length=4096, description="What the template is for.")
    input_schema: FreeObject | None = Field(
        default=None,
        description="JSON Schema (2020-12) that the inputs of a Task with this template must fit. Default: any.",
    )
    task: TemplateTask = Field(
        description="What to do: the spec of a Task, without templateRef and desiredState. Its inputs are defaults."
    )


class TaskTemplateStatus(StatusModel):
    """What the operator last saw of the template."""

    observed_generation: ObservedGeneration = None
    conditions: Conditions = Field(
        default_factory=list[Condition], description="Ready is True when Tasks can use the template."
    )


def resolve_template(task: TaskSpec, template: TaskTemplateSpec) -> TaskSpec:
    """What a Task with ``templateRef`` runs: the template's task, with what the Task says itself laid over it.

    Inputs are joined key by key; a Task with a session or an agent of its own has nobody of the
    template's. The result has no templateRef; its inputs are not checked against the schema.
    """
    above, below = task.to_json(), template.task.to_json()
    del above["templateRef"]
    if {"sessionRef", "agentRef"} & above.keys():
        below = {key: value for key, value in below.items() if key not in {"sessionRef", "agentRef", "user"}}
    return TaskSpec.model_validate({**below, **above, "inputs": {**template.task.inputs, **task.inputs}})
