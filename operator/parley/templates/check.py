"""Find what is wrong in templates before anything runs. Nothing is evaluated."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from parley.resources.agent import AgentSpec
from parley.resources.problems import Problem
from parley.resources.session import SessionSpec
from parley.resources.task import Step, TaskSpec
from parley.templates.compile import in_line
from parley.templates.errors import TemplateError
from parley.templates.fields import Field, TextField, container_fields, output_fields, prompt_fields
from parley.templates.scope import TASK_NAMES, step_variable
from parley.templates.usage import Mention, read_usage, templates_in


def check_template(source: str, path: str) -> None:
    """Check that a template can be rendered at all: its syntax, its filters and tests.

    Raises:
        TemplateError: it cannot.
    """
    read_usage(source, path)


def template_problems(spec: TaskSpec | AgentSpec | SessionSpec) -> list[Problem]:
    """All that is wrong in the templates of a spec, in the order of its fields; empty for a good one.

    The largest specs take seconds: call it once per generation, and away from the event loop.
    """
    match spec:
        case TaskSpec():
            return list(_task_problems(spec))
        case AgentSpec():
            texts = {
                "spec.instructions": spec.instructions,
                "spec.systemTemplate": spec.system_template,
            }
        case SessionSpec():
            texts = {"spec.systemTemplate": spec.system_template}
    known = _Known(names=(*TASK_NAMES, "instructions"))
    return list(_field_problems({path: TextField(text) for path, text in texts.items()}, known))


@dataclass(frozen=True, slots=True)
class _Known:
    """What a template may mention.

    Attributes:
        names: the names in scope.
        absent: names that other tasks have, with why this one has not.
        inputs: ``spec.inputs``; None where they are not known yet.
        steps: names, in templates, of the steps that are done when it is rendered; None where not known yet.
        later: names, in templates, of the steps that are not.
    """

    names: Sequence[str]
    absent: Mapping[str, str] = field(default_factory=dict[str, str])
    inputs: Mapping[str, JsonValue] | None = None
    steps: Sequence[str] | None = None
    later: Sequence[str] = ()


def _task_problems(spec: TaskSpec) -> Iterator[Problem]:
    absent: dict[str, str] = {}
    if spec.session_ref is None:
        absent["session"] = "the Task has no sessionRef"
        if spec.agent_ref is None:
            absent["agent"] = "the Task has neither sessionRef nor agentRef"
    names = [name for name in TASK_NAMES if name not in absent]
    steps = spec.effective_steps()
    variables = [step_variable(step.name) for step in steps]
    # A message is what a person said, never a template.
    for index, step in enumerate(steps if spec.message is None else ()):
        known = _Known(names, absent, spec.inputs, variables[:index], variables[index:])
        yield from _field_problems(_step_fields(step, f"spec.steps[{index}]"), known)
    yield from _field_problems(output_fields(spec.output), _Known(names, absent, spec.inputs, variables))


def _step_fields(step: Step, path: str) -> dict[str, Field]:
    if step.prompt is not None:
        return prompt_fields(step.prompt, path)
    return container_fields(step.container, path) if step.container is not None else {}


def _field_problems(fields: Mapping[str, Field], known: _Known) -> Iterator[Problem]:
    for path, source in templates_in(fields):
        if "{" not in source:
            continue
        try:
            usage = read_usage(source, path)
        except TemplateError as error:
            yield Problem(error.path, error.message)
            continue
        said: set[str] = set()
        for mention in usage.mentions:
            if any(mention.chain[: len(chain)] == chain for chain in usage.guarded):
                continue
            message = _mention_problem(mention, known)
            if message is not None and message not in said:
                said.add(message)
                yield Problem(path, in_line(source, mention.line, message))


def _mention_problem(mention: Mention, known: _Known) -> str | None:
    match mention.chain:
        case (str(name), *_) if name in known.absent:
            return f"{name} is not defined: {known.absent[name]}"
        case (str(name), *_) if name not in known.names:
            return f"{name!r} is not defined; a template here knows {', '.join(known.names)}"
        case ("inputs", key, *_) if mention.always and known.inputs is not None and key not in known.inputs:
            return f"inputs.{key} is not defined; spec.inputs has {', '.join(list(known.inputs)[:12]) or 'nothing'}"
        case ("steps", str(step), *rest) if known.steps is not None:
            return _step_problem(step, rest, known.steps, known.later)
        case _:
            return None


def _step_problem(
    step: str, rest: Sequence[str | int], steps: Sequence[str], later: Sequence[str]
) -> str | None:
    if step in later:
        return f"steps.{step} has no output yet: only steps written above can be used here"
    if step not in steps:
        if step_variable(step) in steps:
            return (
                f"write steps.{step_variable(step)}: in templates the hyphens of step names are underscores"
            )
        return f"steps.{step} does not exist; the steps above are {', '.join(steps[:12]) or 'none'}"
    if rest and rest[0] != "output":
        return f"steps.{step} has only output: write steps.{step}.output.{rest[0]}"
    return None
