"""Run a template: inputs from the command line, a Task, its end."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import click
from pydantic import JsonValue

from parley.cli.app import App
from parley.cli.failures import CliError, ExitCode
from parley.cli.inbox import how_to_answer, questions_of
from parley.cli.output import as_text, print_objects
from parley.cli.progress import display, follow_to_end
from parley.cli.reading import condition, dig, mapping, name_of, number, objects, text
from parley.cli.task_view import verdict
from parley.cli.text import clean
from parley.kube.client import JsonObject
from parley.kube.errors import AlreadyExists, Invalid, NotFound
from parley.kube.kinds import TASK, TASK_TEMPLATE

_READABLE = 43
"""A Task's name has at most 52 characters."""
_PARSED = {"integer", "number", "boolean", "object", "array", "null"}


@dataclass(frozen=True, slots=True)
class Request:
    """What to run.

    Attributes:
        template: name of the TaskTemplate.
        given: ``KEY=VALUE`` and ``KEY:=JSON``.
        file: YAML or JSON with inputs, which those win over.
    """

    template: str
    given: Sequence[str]
    file: bytes | None
    session: str | None = None
    agent: str | None = None
    name: str | None = None


def read_inputs(request: Request, schema: JsonObject) -> JsonObject:
    """Put the inputs together.

    Raises:
        CliError: one of them cannot be read.
    """
    inputs = _from_file(request.file)
    for one in request.given:
        key, separator, value = one.partition("=")
        if not separator or not key.strip(":"):
            raise CliError(
                f"-p {one}: this is no input", "write it like -p order=12345, or -p 'tags:=[1, 2]'"
            )
        if key.endswith(":"):
            inputs[key[:-1]] = _json(one, value)
        else:
            inputs[key] = _by_schema(one, value, mapping(schema, "properties", key))
    return inputs


def _from_file(content: bytes | None) -> JsonObject:
    if content is None:
        return {}
    import yaml

    try:
        value = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeError) as error:
        raise CliError(f"--inputs: {error}", "write it as YAML or JSON") from error
    if not isinstance(value, dict):
        raise CliError("--inputs has no keys", "write it like `order: 12345`, a line for each input")
    try:
        return json.loads(json.dumps(value))
    except TypeError as error:
        raise CliError(f"--inputs: {error}", "quote dates and other values that are no JSON") from error


def _json(given: str, value: str) -> JsonValue:
    try:
        return json.loads(value)
    except ValueError as error:
        raise CliError(
            f"-p {given}: {value!r} is no JSON: {error}", "a text is written KEY=TEXT, without the colon"
        ) from error


def _by_schema(given: str, value: str, schema: JsonObject) -> JsonValue:
    wanted = schema.get("type")
    types = {wanted} if isinstance(wanted, str) else set(wanted) if isinstance(wanted, list) else set[str]()
    if "string" in types or not types & _PARSED:
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise CliError(
            f"-p {given}: the template wants {' or '.join(sorted(map(str, types)))} here",
            f"see its inputs: kubectl get tt -o yaml; write JSON, such as -p {given.partition('=')[0]}=1",
        ) from error


def run(app: App, request: Request, *, detach: bool, quiet: bool, timeout: float | None) -> int:
    """Make the Task, wait for its end, print its output; returns the exit code."""
    kube, namespace = app.kube, app.namespace
    task = _make(app, request)
    name, output = name_of(task), app.settings.output
    if detach:
        if not print_objects([task], output, single=True):
            click.echo(name)
            click.echo(f"next:  parley tasks {name} -n {namespace} --watch", err=True)
        return ExitCode.OK
    if not quiet:
        click.echo(f"Task {name}", err=True)
    family = follow_to_end(kube, namespace, name, display(quiet=quiet), timeout)
    root = family.root
    code = verdict(root, gone=family.gone)
    if code == ExitCode.NOT_ENDED:
        for question in questions_of(root):
            click.echo(f"it waits: {clean(question.question)}\n  {how_to_answer(question)}", err=True)
    if not print_objects([root], output, single=True):
        _print_output(root)
    if code == ExitCode.FAILED:
        raise failure(root)
    return code


def _print_output(task: JsonObject) -> None:
    output = dig(task, "status", "output")
    if output is not None:
        click.echo(clean(as_text(output)))
    if dig(task, "status", "truncated") is True:
        click.echo("(cut: the whole output is in the store; see docs/outputs-and-logs.md)", err=True)


def failure(task: JsonObject) -> CliError:
    """The error that says why a Task failed."""
    why = condition(task, "Succeeded")
    ran = any(number(step, "attempt") for step in objects(task, "status", "steps"))
    return CliError(
        f"Task {name_of(task)} failed: {text(why, 'reason')}: {text(why, 'message')}",
        f"parley {'logs' if ran else 'tasks'} {name_of(task)} -n {text(task, 'metadata', 'namespace')}",
    )


def _make(app: App, request: Request) -> JsonObject:
    namespace = app.namespace
    try:
        template = app.kube.get(TASK_TEMPLATE, namespace, request.template)
    except NotFound as error:
        raise CliError(
            f"there is no TaskTemplate {request.template} in namespace {namespace}",
            f"see which there are: kubectl get tt -n {namespace}",
        ) from error
    spec: dict[str, JsonValue] = {"templateRef": {"name": request.template}}
    inputs = read_inputs(request, mapping(template, "spec", "inputSchema"))
    if inputs:
        spec["inputs"] = inputs
    if request.session:
        spec["sessionRef"] = {"name": request.session}
    if request.agent:
        spec["agentRef"] = {"name": request.agent}
    name = request.name or f"{request.template[:_READABLE].rstrip('-.')}-{uuid.uuid4().hex[:8]}"
    name = name if request.name else name.replace(".", "-")
    try:
        return app.kube.create(TASK, namespace, {"metadata": {"name": name}, "spec": spec})
    except AlreadyExists as error:
        raise CliError(
            f"there is a Task {name} in namespace {namespace} already", "leave --name out, or take another"
        ) from error
    except Invalid as error:
        raise CliError(error.message, f"see `parley run {request.template} --help`") from error
