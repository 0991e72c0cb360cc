"""Find what is wrong in templates before anything runs. Nothing is evaluated."""

from parley.resources.agent import AgentSpec
from parley.resources.problems import Problem
from parley.resources.reply import ReplySpec
from parley.resources.schedule import ScheduleSpec
from parley.resources.session import SessionSpec
from parley.resources.task import TaskSpec
from parley.resources.task_template import TaskTemplateSpec
from parley.resources.validation import AnySpec
from parley.templates.field_check import Known, field_problems
from parley.templates.fields import TextField
from parley.templates.scope import SYSTEM_NAMES
from parley.templates.task_check import task_template_problems
from parley.templates.tool_check import tool_template_problems
from parley.templates.usage import read_usage

_SYSTEM = Known(SYSTEM_NAMES)
_INSTRUCTIONS = Known(
    tuple(name for name in SYSTEM_NAMES if name != "instructions"),
    {"instructions": "this is the template of the instructions themselves"},
)


def check_template(source: str, path: str) -> None:
    """Check that a template can be rendered at all: its syntax, its filters and tests.

    Raises:
        TemplateError: it cannot.
    """
    read_usage(source, path)


def template_problems(spec: AnySpec) -> list[Problem]:
    """All that is wrong in the templates of a spec, in the order of its fields; empty for a good one.

    The largest specs take seconds: call it once per generation, and away from the event loop.
    """
    match spec:
        case TaskSpec():
            return list(task_template_problems(spec, "spec"))
        case TaskTemplateSpec():
            return list(
                task_template_problems(spec.task, "spec.task", known_inputs=_inputs_of(spec), bound=False)
            )
        case ScheduleSpec():
            return list(task_template_problems(spec.task_template.spec, "spec.taskTemplate.spec"))
        case AgentSpec():
            system = {"spec.systemTemplate": TextField(spec.system_template)}
            return [
                *field_problems({"spec.instructions": TextField(spec.instructions)}, _INSTRUCTIONS),
                *field_problems(system, _SYSTEM),
                *tool_template_problems(spec),
            ]
        case SessionSpec():
            return list(field_problems({"spec.systemTemplate": TextField(spec.system_template)}, _SYSTEM))
        case ReplySpec():
            return []


def _inputs_of(template: TaskTemplateSpec) -> set[str] | None:
    """The inputs a TaskTemplate's templates may use; None: its schema lets any in."""
    schema = template.input_schema or {}
    properties = schema.get("properties")
    if schema.get("additionalProperties") is not False or not isinstance(properties, dict):
        return None
    return {*properties, *template.task.inputs}
