"""Talk: say something, print the answer as it comes, ask the person what the agent's tools ask."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module

import click

from parley.api.events import EventView
from parley.api.messages import MAX_CONTENT, MessageAccepted
from parley.api.stream import DeltaView, Done, TaskChange, WaitingFor
from parley.cli.answer_printer import AnswerPrinter
from parley.cli.app import App
from parley.cli.failures import CliError, ExitCode
from parley.cli.gateway import FOLLOWING, explained
from parley.cli.options import wants_colour
from parley.cli.output import print_value
from parley.cli.text import clean, one_line
from parley.cli.way import is_cluster_known
from parley.client import ChatItem, Parley, ParleyError

_CODES = {"Succeeded": ExitCode.OK, "Failed": ExitCode.FAILED, "Cancelled": ExitCode.CANCELLED}


@dataclass(frozen=True, slots=True)
class Talk:
    """Who talks with whom, where."""

    app: App
    parley: Parley
    session: str
    agent: str | None
    speaker: str | None

    def say(self, message: str, key: str | None = None) -> Iterator[ChatItem]:
        """Say something; what comes of it."""
        return self.parley.chat(self.session, message, user=self.speaker, agent=self.agent, key=key)


def chat(
    app: App, session: str, message: str | None, *, agent: str | None, speaker: str | None, key: str | None
) -> int:
    """Talk in a session; returns the exit code."""
    interactive = message is None and sys.stdin.isatty()
    if message is None and not interactive:
        message = _of_stdin()
    if message is not None:
        # Before a session is begun for it.
        _must_be_sayable(message)
    with app.gateway() as parley:
        created = _make_sure_of(parley, session, agent)
        parley.retries = FOLLOWING
        # A new session has one agent, which need not be named.
        talk = Talk(app, parley, session, None if created else agent, speaker)
        if message is not None:
            return _one_turn(talk, message, key)
        return _converse(talk)


def _of_stdin() -> str:
    try:
        message = sys.stdin.read().strip()
    except UnicodeDecodeError as error:
        raise CliError(
            "what comes from stdin is no text in UTF-8", "say it in UTF-8: iconv -t UTF-8"
        ) from error
    if not message:
        raise CliError("there is nothing to say: stdin is empty", "parley chat SESSION -m TEXT")
    return message


def _must_be_sayable(message: str) -> None:
    if not message:
        raise CliError("there is nothing to say: the message (-m) is empty", "parley chat SESSION -m TEXT")
    if len(message) > MAX_CONTENT:
        raise CliError(
            f"the message has {len(message):,} characters, and a message may have {MAX_CONTENT:,}",
            "say it in parts, or put it where a tool of the agent reads it",
        )


def _make_sure_of(parley: Parley, session: str, agent: str | None) -> bool:
    """Begin the session if it does not exist and an agent is named; whether it was."""
    from parley.resources.common import ObjectReference
    from parley.resources.session import SessionSpec

    try:
        found = parley.get_session(session)
    except ParleyError as error:
        if error.status != 404:
            raise
        if agent is None:
            raise CliError(
                f"there is no Session {session} in namespace {parley.namespace} that you may see",
                f"begin it with an agent: parley chat {session} --agent NAME; or see: parley sessions",
            ) from error
        parley.create_session(SessionSpec(agent_ref=ObjectReference(name=agent)), name=session)
        click.echo(f"Session {session} begins, with {agent}", err=True)
        return True
    # Only where there are several is one of them chosen.
    return found.spec is not None and found.spec.agent_ref is not None and found.spec.agent_ref.name == agent


def _one_turn(talk: Talk, message: str, key: str | None) -> int:
    quiet = talk.app.settings.output in {"json", "yaml"}
    done = _follow(talk, talk.say(message, key), quiet=quiet, ask=False)
    if done is None:
        return ExitCode.FAILED
    if quiet:
        print_value(done.to_json(), talk.app.settings.output)
    return _end(talk, done)


def _end(talk: Talk, done: Done) -> int:
    if done.phase != "Succeeded":
        why = f"{done.reason}: {done.message}" if done.message else done.reason or ""
        click.echo(f"the turn {done.phase.lower()}: {clean(why)}", err=True)
        if done.task and is_cluster_known(talk.app):
            click.echo(f"next:  parley tasks {done.task} -n {talk.parley.namespace}", err=True)
    return _CODES[done.phase]


def _converse(talk: Talk) -> int:
    click.echo(f"Session {talk.session} in namespace {talk.parley.namespace}. Ctrl-D ends.", err=True)
    # Lines can be edited and called back; between these marks is what takes no room in them.
    with suppress(ImportError):
        # input() uses it once it is imported.
        import_module("readline")
    prompt = "\001\033[36m\002you> \001\033[0m\002" if wants_colour() else "you> "
    while True:
        try:
            line = input(prompt).strip()
        except (EOFError, KeyboardInterrupt):
            click.echo()
            return ExitCode.OK
        if not line:
            continue
        try:
            with explained():
                _must_be_sayable(line)
                done = _follow(talk, talk.say(line), quiet=False, ask=True)
        except CliError as error:
            # What was typed is wrong, or the gateway is away: the conversation is not over for that.
            error.show()
            continue
        except EOFError:
            return ExitCode.OK
        if done is not None:
            _end(talk, done)


def _follow(talk: Talk, items: Iterator[ChatItem], *, quiet: bool, ask: bool) -> Done | None:
    """Print a turn as it goes; None if the person left it before its end."""
    printer = AnswerPrinter(quiet=quiet)
    mine, asked, task = None, set[str](), ""
    try:
        for item in items:
            match item:
                case MessageAccepted():
                    mine, task = item.event_id, item.task or ""
                case DeltaView():
                    printer.delta(item)
                case EventView() if item.id != mine:
                    printer.event(item)
                case TaskChange():
                    for waiting in item.waiting or ():
                        if waiting.wait_id not in asked:
                            asked.add(waiting.wait_id)
                            printer.end_line()
                            _waiting(talk, item.name, waiting, ask=ask)
                case Done():
                    printer.end_line()
                    return item
                case _:
                    pass
    except KeyboardInterrupt:
        printer.end_line()
        if not ask:
            raise
        click.echo(f"left; the turn goes on. {_afterwards(talk, task)}", err=True)
    return None


def _afterwards(talk: Talk, task: str) -> str:
    """What to do about a turn that goes on: who has no cluster, has no command that ends it."""
    if is_cluster_known(talk.app):
        return f"To end it: parley cancel {task} -n {talk.parley.namespace}"
    return f"How it ends: parley events {talk.session} -n {talk.parley.namespace}"


def _waiting(talk: Talk, task: str, waiting: WaitingFor, *, ask: bool) -> None:
    detail = f"\n  {waiting.tool}({waiting.arguments or ''})" if waiting.tool else ""
    click.echo(f"? {one_line(waiting.question)}{clean(detail)}", err=True)
    choices = waiting.choices or []
    how = _how_to_answer(waiting, f"{task} -n {talk.parley.namespace} --question {waiting.wait_id}")
    if not ask or not choices:
        click.echo(f"  to answer: {how}", err=True)
        return
    try:
        chosen = click.prompt("  answer", type=click.Choice([*choices, "later"]), default="later", err=True)
    except click.Abort as left:
        click.echo(f"  later: {how}", err=True)
        # Of click it is one error; here Ctrl-C leaves the answer, and Ctrl-D the conversation.
        raise (left.__context__ or KeyboardInterrupt()) from None
    if chosen == "later":
        click.echo(f"  later: {how}", err=True)
        return
    _reply(talk, task, waiting, chosen)


def _how_to_answer(waiting: WaitingFor, where: str) -> str:
    choices = waiting.choices or []
    if not choices:
        return f"parley reply {where} --value JSON"
    if {"approve", "reject"} <= set(choices):
        return f"parley approve {where}"
    return f"parley reply {where} --choice {shlex.quote(choices[0])}"


def _reply(talk: Talk, task: str, waiting: WaitingFor, chosen: str) -> None:
    try:
        said = talk.parley.create_reply(task, waiting.wait_id, choice=chosen)
    except ParleyError as error:
        click.echo(f"  error: {error}", err=True)
        return
    if said.accepted is False:
        click.echo(f"  refused: {said.reason}: {said.message or ''}", err=True)
