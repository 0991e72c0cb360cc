"""``parley reply``, ``approve`` and ``reject``: a Reply object under the caller's own name."""

import click

from parley.cli.app import App, pass_app
from parley.cli.command import command
from parley.cli.completing import names_of
from parley.cli.options import Decorator, gateway_options, output_option

_question: Decorator = click.option(
    "--question", metavar="ID|STEP", help="Which one, where the Task asks several things."
)
_message: Decorator = click.option("-m", "--message", metavar="TEXT", help="What else there is to say.")


@command(
    "reply",
    "Answer a Task's question with a choice or a value.",
    "parley reply refund-approval --choice approve -m 'It came late.'",
    "parley reply ask-discount --value 5",
)
@click.argument("task", shell_complete=names_of("tasks"))
@click.option("--choice", metavar="WORD", help="One of the question's choices.")
@click.option(
    "--value", metavar="JSON", help="A value, where the question has no choices; a plain word is a text."
)
@_message
@_question
@output_option("table", "json", "yaml", "name")
@gateway_options
@pass_app
def reply_command(
    app: App, task: str, choice: str | None, value: str | None, message: str | None, question: str | None
) -> None:
    """Answer a Task's question. The answer is signed with your own user name and cannot be changed."""
    from parley.cli.replying import answer

    if (choice is None) == (value is None):
        raise click.UsageError("give exactly one of --choice and --value")
    answer(app, task, choice=choice, value=value, message=message, question=question)


@command(
    "approve",
    "Answer `approve` to what a Task asks.",
    "parley approve refund-approval",
    "parley approve frank-1 --question W1 -m 'Seen by me.'",
)
@click.argument("task", shell_complete=names_of("tasks"))
@_message
@_question
@output_option("table", "json", "yaml", "name")
@gateway_options
@pass_app
def approve_command(app: App, task: str, message: str | None, question: str | None) -> None:
    """Answer `approve` to a Task that asks for an approval, under your own user name."""
    from parley.cli.replying import answer

    answer(app, task, choice="approve", value=None, message=message, question=question)


@command(
    "reject",
    "Answer `reject` to what a Task asks.",
    "parley reject refund-approval -m 'Too late.'",
)
@click.argument("task", shell_complete=names_of("tasks"))
@_message
@_question
@output_option("table", "json", "yaml", "name")
@gateway_options
@pass_app
def reject_command(app: App, task: str, message: str | None, question: str | None) -> None:
    """Answer `reject` to a Task that asks for an approval, under your own user name."""
    from parley.cli.replying import answer

    answer(app, task, choice="reject", value=None, message=message, question=question)
