"""Answer a Task, and say what became of it."""

import click

from parley.cli.app import App
from parley.cli.inbox import choose, questions_of, read_value, reply
from parley.cli.output import as_text, print_objects
from parley.cli.reading import text
from parley.cli.task_view import must_exist
from parley.cli.text import one_line


def answer(
    app: App, task: str, *, choice: str | None, value: str | None, message: str | None, question: str | None
) -> None:
    """Make a Reply to the question that is meant, and wait until it counts."""
    asked = choose(questions_of(must_exist(app, task)), task, question, choice)
    content = None if value is None else read_value(value)
    made = reply(app, asked, choice=choice, value=content, message=message)
    if print_objects([made], app.settings.output, single=True):
        return
    said = choice if choice is not None else one_line(as_text(content))
    by = text(made, "spec", "by")
    click.echo(f"{asked.task}: {one_line(asked.question)} — {said}{f' (by {by})' if by else ''}")
