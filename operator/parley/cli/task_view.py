"""How Tasks look in lists, and one by itself."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

import click

from parley.cli.app import App
from parley.cli.failures import CliError, ExitCode
from parley.cli.following import load_family
from parley.cli.inbox import how_to_answer, questions_of
from parley.cli.output import as_text, print_objects
from parley.cli.phases import read_phase
from parley.cli.progress import display, family_lines, follow_to_end, print_tree
from parley.cli.reading import condition, dig, name_of, namespace_of, number, text
from parley.cli.table import Cell, Column, phase, print_table
from parley.cli.task_tree import children_of, parent_of
from parley.cli.text import age, clean, one_line
from parley.kube.client import JsonObject
from parley.kube.errors import NotFound
from parley.kube.kinds import TASK
from parley.resources.task_status import TaskPhase


def must_exist(app: App, name: str) -> JsonObject:
    """The Task of that name.

    Raises:
        CliError: there is none.
    """
    try:
        return app.kube.get(TASK, app.namespace, name)
    except NotFound as error:
        raise no_such_task(app, name) from error


def no_such_task(app: App, name: str) -> CliError:
    """The error for a Task that is not there."""
    return CliError(
        f"there is no Task {name} in namespace {app.namespace}",
        f"see which there are: parley tasks -n {app.namespace}",
    )


def list_all(
    app: App, *, everywhere: bool, labels: str, session: str | None, agent: str | None, wanted: str | None
) -> None:
    """Print Tasks, newest first, each followed by those below it."""
    selected = {"spec.sessionRef.name": session, "status.phase": read_phase(wanted, TaskPhase)}
    fields = ",".join(f"{path}={value}" for path, value in selected.items() if value)
    namespace = None if everywhere else app.namespace
    found = app.kube.list(TASK, namespace, labels=labels, fields=fields).items
    chosen = [one for one in found if agent is None or text(one, "status", "agent") == agent]
    chosen.sort(key=lambda one: text(one, "metadata", "creationTimestamp"), reverse=True)
    if print_objects(chosen, app.settings.output):
        return
    if not chosen:
        where = "any namespace" if everywhere else f"namespace {app.namespace}"
        click.echo(f"No tasks in {where}.", err=True)
        return
    now, wide = datetime.now(UTC), app.settings.output == "wide"
    columns: list[Column | str] = [
        *(["NAMESPACE"] if everywhere else []),
        *("NAME", "SESSION", "AGENT", "PHASE", "PROGRESS", "REASON", "AGE"),
        *(["TOKENS"] if wide else []),
        Column("MESSAGE", flexible=True),
    ]
    print_table(columns, [_row(one, tree, now, everywhere, wide) for tree, one in _nested(chosen)])


def _nested(tasks: Sequence[JsonObject]) -> Iterator[tuple[str, JsonObject]]:
    """Each Task with what draws the tree before its name; those whose parent is not listed stand by themselves."""
    by_namespace: dict[str, list[JsonObject]] = {}
    for task in tasks:
        by_namespace.setdefault(namespace_of(task), []).append(task)
    for _, members in sorted(by_namespace.items()):
        children, names = children_of(members), {name_of(task) for task in members}
        for task in members:
            if parent_of(task) not in names:
                yield from _with_children("", "", task, children)


def _with_children(
    branch: str, indent: str, task: JsonObject, children: Mapping[str, Sequence[JsonObject]]
) -> Iterator[tuple[str, JsonObject]]:
    yield branch, task
    below = children.get(name_of(task), ())
    for index, child in enumerate(below):
        last = index == len(below) - 1
        fork, further = ("└─ ", "   ") if last else ("├─ ", "│  ")
        yield from _with_children(indent + fork, indent + further, child, children)


def _row(task: JsonObject, branch: str, now: datetime, everywhere: bool, wide: bool) -> Sequence[Cell | str]:
    verdict = condition(task, "Succeeded")
    reason, stage = text(verdict, "reason"), text(task, "status", "phase")
    tokens = number(task, "status", "usage", "inputTokens") + number(task, "status", "usage", "outputTokens")
    return [
        *([namespace_of(task)] if everywhere else []),
        branch + name_of(task),
        text(task, "spec", "sessionRef", "name"),
        text(task, "status", "agent"),
        phase(stage or "Pending"),
        text(task, "status", "progress"),
        reason if reason != stage else "",
        age(text(task, "metadata", "creationTimestamp"), now),
        *([str(tokens)] if wide else []),
        text(verdict, "message") if stage != "Succeeded" else _result(task),
    ]


def _result(task: JsonObject) -> str:
    output = dig(task, "status", "output")
    return (
        ""
        if output is None
        else output
        if isinstance(output, str)
        else json.dumps(output, ensure_ascii=False)
    )


def show(app: App, name: str, *, watch: bool, timeout: float | None) -> int:
    """Print one Task as a tree; with ``watch`` until it ends. Returns the exit code."""
    kube, namespace = app.kube, app.namespace
    output = app.settings.output
    task = must_exist(app, name)
    if not watch:
        if print_objects([task], output, single=True):
            return ExitCode.OK
        family = load_family(kube, namespace, name)
        print_tree(family_lines(family))
        print_rest(family.root)
        return ExitCode.OK
    family = follow_to_end(kube, namespace, name, display(quiet=output not in {"table", "wide"}), timeout)
    if not print_objects([family.root], output, single=True):
        print_rest(family.root)
    return verdict(family.root, gone=family.gone)


def print_rest(task: JsonObject) -> None:
    """Print what is beside the tree: what a person is asked, and the output."""
    for question in questions_of(task):
        click.echo(f"\n? {one_line(question.question)}")
        click.echo(f"  {how_to_answer(question)}")
    output = dig(task, "status", "output")
    if output is not None:
        click.echo(f"\n{clean(as_text(output))}")
    if dig(task, "status", "truncated") is True:
        click.echo("(cut: the whole output is in the store)", err=True)


def verdict(task: JsonObject, *, gone: bool) -> int:
    """The exit code for how a Task ended."""
    codes = {
        "Succeeded": ExitCode.OK,
        "Failed": ExitCode.FAILED,
        "Cancelled": ExitCode.CANCELLED,
    }
    if gone:
        click.echo(f"Task {name_of(task)} was deleted.", err=True)
        return ExitCode.CANCELLED
    stage = text(task, "status", "phase")
    if stage not in codes:
        click.echo(
            f"Task {name_of(task)} has not ended ({stage or 'Pending'}); it goes on.\n"
            f"next:  parley tasks {name_of(task)} -n {namespace_of(task)} --watch",
            err=True,
        )
    return codes.get(stage, ExitCode.NOT_ENDED)
