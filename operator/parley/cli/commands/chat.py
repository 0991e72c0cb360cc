"""``parley chat``."""

import click

from parley.cli.app import App, pass_app
from parley.cli.command import command
from parley.cli.completing import names_of
from parley.cli.options import gateway_options, output_option


@command(
    "chat",
    "Talk with an agent; the answer streams as it comes.",
    "parley chat alice",
    "parley chat alice -m 'What is my name?'",
    "parley chat bob --agent support",
    "echo 'Sum this up.' | parley chat alice",
)
@click.argument("session", shell_complete=names_of("sessions"))
@click.option("-m", "--message", metavar="TEXT", help="Say this, print the answer, and end.")
@click.option(
    "--agent",
    metavar="NAME",
    shell_complete=names_of("agents"),
    help="Who answers; a session that does not exist begins with this agent.",
)
@click.option("--as-speaker", metavar="ID", help="Which of the session's users says it.")
@click.option("--key", metavar="TEXT", help="With -m: said once, however often it is sent with this key.")
@output_option("table", "json", "yaml")
@gateway_options
@pass_app
def chat_command(
    app: App,
    session: str,
    message: str | None,
    agent: str | None,
    as_speaker: str | None,
    key: str | None,
) -> int:
    """Talk in a session: without -m line by line, in a terminal, until Ctrl-D.

    Ctrl-C during an answer leaves it; the turn goes on. Exit codes with -m: 0 answered, 1 the turn failed,
    3 it was cancelled.
    """
    from parley.cli.chatting import chat

    return chat(app, session, message, agent=agent, speaker=as_speaker, key=key)
