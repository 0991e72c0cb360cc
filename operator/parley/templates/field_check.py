"""Find what is wrong in single templates by reading them; nothing is evaluated."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from parley.resources.problems import Problem
from parley.templates.compile import in_line
from parley.templates.errors import TemplateError
from parley.templates.fields import Field
from parley.templates.scope import FIELDS, step_variable
from parley.templates.usage import Mention, read_usage, templates_in


@dataclass(frozen=True, slots=True)
class Known:
    """What a template may mention.

    Attributes:
        names: the names in scope.
        absent: names that other tasks have, with why this one has not.
        inputs: the inputs there are, such as those of ``spec.inputs``; None where they are not known yet.
        inputs_from: who says which inputs there are.
        steps: names, in templates, of the steps that are done when it is rendered; None where not known yet.
        later: names, in templates, of the steps that begin only after it.
        unneeded: names, in templates, of the steps above that need not be done when it is rendered.
        arguments: those a tool is called with; None where there may be any.
        arguments_from: who says which arguments there are.
    """

    names: Sequence[str]
    absent: Mapping[str, str] = field(default_factory=dict[str, str])
    inputs: Collection[str] | None = None
    inputs_from: str = "spec.inputs"
    steps: Sequence[str] | None = None
    later: Sequence[str] = ()
    unneeded: Sequence[str] = ()
    arguments: Collection[str] | None = None
    arguments_from: str = "the tool's parameters"


def field_problems(fields: Mapping[str, Field], known: Known) -> Iterator[Problem]:
    """All that is wrong in the templates of some fields."""
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


def _mention_problem(mention: Mention, known: Known) -> str | None:
    match mention.chain:
        case (str(name), *_) if name in known.absent:
            return f"{name} is not defined: {known.absent[name]}"
        case (str(name), *_) if name not in known.names:
            return f"{name!r} is not defined; a template here knows {', '.join(known.names)}"
        case ("inputs", key, *_) if mention.always and known.inputs is not None and key not in known.inputs:
            return f"inputs.{key} is not defined; {known.inputs_from} has {_listed(known.inputs)}"
        case ("arguments", key, *_) if known.arguments is not None and key not in known.arguments:
            return f"arguments.{key} is not defined; {known.arguments_from} has {_listed(known.arguments)}"
        case ("steps", str(step), *rest) if known.steps is not None:
            return _step_problem(step, rest, known)
        case _:
            return _unknown_field(mention.chain)


def _unknown_field(chain: Sequence[str | int]) -> str | None:
    names = [str(key) for key in chain]
    for length in range(1, len(names)):
        fields = FIELDS.get(tuple(names[:length]))
        if fields is not None and names[length] not in fields:
            path = ".".join(names[:length])
            return f"{path}.{names[length]} is not defined; {path} has {', '.join(fields)}"
    return None


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names)[:12]) or "nothing"


def _step_problem(step: str, rest: Sequence[str | int], known: Known) -> str | None:
    steps = known.steps or ()
    if step in known.later:
        return f"steps.{step} has no output yet: only steps written above can be used here"
    if step in known.unneeded:
        return (
            f"steps.{step} may not be done yet: add {step.replace('_', '-')} to the needs of this step, "
            "or of one that it needs"
        )
    if step not in steps:
        if step_variable(step) in (*steps, *known.unneeded):
            return (
                f"write steps.{step_variable(step)}: in templates the hyphens of step names are underscores"
            )
        return f"steps.{step} does not exist; the steps above are {', '.join(steps[:12]) or 'none'}"
    if rest and rest[0] != "output":
        return f"steps.{step} has only output: write steps.{step}.output.{rest[0]}"
    return None
