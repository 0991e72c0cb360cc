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
from parley.templates.scope import TASK_NAMES
from parley.templates.task_check import task_template_problems
from parley.templates.usage import read_usage


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
            texts = {
                "spec.instructions": spec.instructions,
                "spec.systemTemplate": spec.system_template,
            }
        case SessionSpec():
            texts = {"spec.systemTemplate": spec.system_template}
        case ReplySpec():
            return []
    known = Known(names=(*TASK_NAMES, "instructions"))
    return list(field_problems({path: TextField(text) for path, text in texts.items()}, known))


def _inputs_of(template: TaskTemplateSpec) -> set[str] | None:
    """The inputs a TaskTemplate's templates may use; None: its schema lets any in."""
    schema = template.input_schema or {}
    properties = schema.get("properties")
    if schema.get("additionalProperties") is not False or not isinstance(properties, dict):
        return None
    return {*properties, *template.task.inputs}
