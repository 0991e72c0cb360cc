"""How the inbox looks."""

from contextlib import nullcontext
from datetime import UTC, datetime

import click

from parley.cli.app import App
from parley.cli.failures import CliError, or_the_gateway
from parley.cli.inbox import Question, how_to_answer, oldest_first, questions_of, unseen
from parley.cli.output import print_value
from parley.cli.reading import as_value
from parley.cli.table import Cell, Column, print_table
from parley.cli.text import age, until
from parley.cli.way import is_gateway_chosen
from parley.kube.client import JsonObject
from parley.kube.errors import Forbidden
from parley.kube.kinds import TASK


def list_waiting(app: App, *, everywhere: bool) -> None:
    """Print all questions of the namespace, or of all namespaces."""
    found, more = _ask(app, everywhere=everywhere)
    questions = oldest_first(found)
    if app.settings.output in {"json", "yaml"}:
        items = as_value(one.to_json() for one in questions)
        # Of Tasks that ask more than eight things at once.
        beyond: JsonObject = {"more": more} if more else {}
        print_value({"items": items, **beyond}, app.settings.output)
        return
    if not questions:
        click.echo(f"Nothing waits in {'any namespace' if everywhere else f'namespace {app.namespace}'}.")
        return
    now, wide = datetime.now(UTC), app.settings.output == "wide"
    columns: list[Column | str] = [
        *(["NAMESPACE"] if everywhere else []),
        *("TASK", "STEP", "SINCE", "LEFT", "ANSWERS"),
        *(["SESSION", "ID"] if wide else []),
        Column("QUESTION", flexible=True),
    ]
    rows = [
        [
            *([one.namespace] if everywhere else []),
            one.task,
            one.step,
            age(one.since, now),
            _left(one, now),
            "|".join(one.choices) or "JSON",
            *([one.session, one.id] if wide else []),
            asked(one),
        ]
        for one in questions
    ]
    print_table(columns, rows)
    if more:
        click.echo(f"and {more} more, of Tasks that ask more than eight things at once", err=True)
    click.echo(f"\nThe oldest: {how_to_answer(questions[0])}", err=True)


def _ask(app: App, *, everywhere: bool) -> tuple[list[Question], int]:
    """The questions, and how many there are besides."""
    if is_gateway_chosen(app, everywhere=everywhere):
        from parley.cli import through_gateway

        with app.gateway() as parley:
            return through_gateway.questions(parley), 0
    try:
        with nullcontext() if everywhere else or_the_gateway():
            tasks = app.kube.list(TASK, None if everywhere else app.namespace).items
    except Forbidden as error:
        raise CliError(
            "you may not list the Tasks of all namespaces",
            "look into one that is yours: parley waiting -n NAMESPACE",
        ) from error
    return [one for task in tasks for one in questions_of(task)], sum(unseen(task) for task in tasks)


def asked(question: Question) -> str:
    """What is asked; for an approval also of what call."""
    if question.call and question.arguments and question.call not in question.question:
        return f"{question.question} {question.call}({question.arguments})"
    if question.call and question.arguments:
        return f"{question.question} {question.arguments}"
    return question.question


def _left(question: Question, now: datetime) -> Cell:
    left = until(question.deadline, now)
    soon = left == "now" or (left != "-" and left[-1] in "sm" and "h" not in left)
    return Cell(left, "red" if soon else None)
