"""Answer a Task, and say what became of it."""

import click

from parley.cli.app import App
from parley.cli.failures import or_the_gateway
from parley.cli.inbox import choose, questions_of, read_value, reply
from parley.cli.output import as_text, print_objects
from parley.cli.reading import text
from parley.cli.task_view import must_exist
from parley.cli.text import one_line
from parley.cli.way import is_gateway_chosen


def answer(
    app: App, task: str, *, choice: str | None, value: str | None, message: str | None, question: str | None
) -> None:
    """Make a Reply to the question that is meant, and wait until it counts."""
    content = None if value is None else read_value(value)
    if is_gateway_chosen(app):
        from parley.cli import through_gateway

        with app.gateway() as parley:
            shown = through_gateway.task_of(parley, task)
            asked = choose(questions_of(shown), task, question, choice)
            made = through_gateway.reply(parley, asked, choice=choice, value=content, message=message)
    else:
        with or_the_gateway():
            shown = must_exist(app, task)
        asked = choose(questions_of(shown), task, question, choice)
        made = reply(app, asked, choice=choice, value=content, message=message)
    if print_objects([made], app.settings.output, single=True):
        return
    said = choice if choice is not None else one_line(as_text(content))
    by = text(made, "spec", "by")
    click.echo(f"{asked.task}: {one_line(asked.question)} — {said}{f' (by {by})' if by else ''}")
