"""What only the operator can find wrong in a spec, beyond what the API server refuses: pure functions.

Problems of templates are ``parley.templates``'s to find, those of cron expressions ``parley.engine``'s. Whatever is
found becomes ``Stalled, InvalidSpec``.
"""

from collections.abc import Iterator
from typing import TypeAlias

from parley.resources.agent import AgentSpec
from parley.resources.output_schema import schema_problems
from parley.resources.problems import Problem, free_value_problems
from parley.resources.reading import parse_problems, read_spec
from parley.resources.reply import ReplySpec
from parley.resources.schedule import ScheduleSpec
from parley.resources.session import SessionSpec
from parley.resources.session_problems import session_problems
from parley.resources.task import TaskSpec
from parley.resources.task_problems import task_problems
from parley.resources.task_template import TaskTemplateSpec
from parley.resources.tool_problems import tools_problems

__all__ = ["AnySpec", "Problem", "parse_problems", "read_spec", "spec_problems"]

AnySpec: TypeAlias = AgentSpec | SessionSpec | TaskSpec | TaskTemplateSpec | ScheduleSpec | ReplySpec


def spec_problems(spec: AnySpec) -> list[Problem]:
    """All that is wrong in a spec, in the order of its fields; empty for a good one.

    A JSON Schema takes 2 ms a kilobyte: call it once per generation, and away from the event loop.
    """
    match spec:
        case TaskSpec():
            return list(task_problems(spec))
        case TaskTemplateSpec():
            schema = spec.input_schema
            problems = [] if schema is None else schema_problems(schema, "spec.inputSchema")
            return [*problems, *task_problems(spec.task, "spec.task", bound=False)]
        case ScheduleSpec():
            return list(task_problems(spec.task_template.spec, "spec.taskTemplate.spec"))
        case SessionSpec():
            return list(session_problems(spec))
        case ReplySpec():
            return list(_reply_problems(spec))
        case AgentSpec():
            return list(tools_problems(spec))


def _reply_problems(spec: ReplySpec) -> Iterator[Problem]:
    if len(spec.model_fields_set & {"choice", "value"}) != 1:
        yield Problem("spec", "a Reply has exactly one of choice and value")
    yield from free_value_problems(spec.value, "spec.value")
