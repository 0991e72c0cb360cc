"""How sessions look."""

from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime

import click

from parley.cli.app import App
from parley.cli.failures import CliError, or_the_gateway
from parley.cli.output import print_objects
from parley.cli.phases import read_phase
from parley.cli.reading import condition, name_of, namespace_of, number, objects, text
from parley.cli.table import Cell, Column, phase, print_table
from parley.cli.text import age, clean, one_line
from parley.cli.way import is_gateway_chosen
from parley.kube.client import JsonObject
from parley.kube.kinds import SESSION
from parley.resources.session_status import SessionPhase


def list_all(app: App, *, everywhere: bool, labels: str, agent: str | None, wanted: str | None) -> None:
    """Print the sessions that fit, those with the newest event first."""
    stage = read_phase(wanted, SessionPhase)
    if is_gateway_chosen(app, everywhere=everywhere):
        from parley.cli import through_gateway

        with app.gateway() as parley:
            found = through_gateway.sessions(parley, labels=labels, phase=stage)
    else:
        namespace = None if everywhere else app.namespace
        fields = f"status.phase={stage}" if stage else ""
        with nullcontext() if everywhere else or_the_gateway():
            found = app.kube.list(SESSION, namespace, labels=labels, fields=fields).items
    chosen = [one for one in found if agent is None or agent in _agents(one)]
    chosen.sort(key=lambda one: text(one, "status", "events", "lastTime"), reverse=True)
    if print_objects(chosen, app.settings.output):
        return
    if not chosen:
        where = "any namespace" if everywhere else f"namespace {app.namespace}"
        click.echo(f"No sessions in {where}.", err=True)
        return
    wide = app.settings.output == "wide"
    columns: list[Column | str] = [
        *(["NAMESPACE"] if everywhere else []),
        *("NAME", "AGENT", "PHASE", "MESSAGES", "TASKS", "LAST", "AGE"),
        *(["USER", "REASON"] if wide else []),
        Column("LAST SAID", flexible=True),
    ]
    now = datetime.now(UTC)
    print_table(columns, [_row(one, now, everywhere=everywhere, wide=wide) for one in chosen])


def _row(session: JsonObject, now: datetime, *, everywhere: bool, wide: bool) -> Sequence[Cell | str]:
    last = next(reversed(_said(session)), None)
    who = text(last, "speaker") or text(last, "role") if last else ""
    waiting = number(session, "status", "tasks", "waiting")
    active = number(session, "status", "tasks", "active")
    return [
        *([namespace_of(session)] if everywhere else []),
        name_of(session),
        ",".join(_agents(session)),
        phase(text(session, "status", "phase")),
        str(number(session, "status", "events", "messages")),
        Cell(f"{active}, {waiting} wait", "yellow") if waiting else str(active),
        age(text(session, "status", "events", "lastTime"), now),
        age(text(session, "metadata", "creationTimestamp"), now),
        *([_user(session), text(condition(session, "Active"), "reason")] if wide else []),
        f"{who}: {text(last, 'text')}" if last and text(last, "text") else "-",
    ]


def _agents(session: JsonObject) -> list[str]:
    single = text(session, "spec", "agentRef", "name")
    return [single] if single else [text(one, "name") for one in objects(session, "spec", "agents")]


def _user(session: JsonObject) -> str:
    people = [text(one, "id") for one in objects(session, "spec", "users")]
    return ",".join(people) or text(session, "spec", "user", "id") or text(session, "spec", "user", "name")


def _said(session: JsonObject) -> list[JsonObject]:
    return [one for one in objects(session, "status", "recentEvents") if text(one, "type") == "message"]


def show(app: App, name: str) -> None:
    """Print one session: how it stands, and its newest events."""
    if is_gateway_chosen(app):
        from parley.cli import through_gateway

        with app.gateway() as parley:
            session = through_gateway.session_of(parley, name)
    else:
        with or_the_gateway():
            session = app.kube.get(SESSION, app.namespace, name)
    if print_objects([session], app.settings.output, single=True):
        return
    now = datetime.now(UTC)
    facts = {
        "Session": f"{namespace_of(session)}/{name_of(session)}",
        "Agent": ", ".join(_agents(session)),
        "User": _user(session),
        "Phase": text(session, "status", "phase") or "not seen by the operator yet",
        "Messages": str(number(session, "status", "events", "messages")),
        "Tasks": ", ".join(
            f"{number(session, 'status', 'tasks', key)} {key}"
            for key in ("active", "waiting", "succeeded", "failed")
        ),
        "Tokens": f"{number(session, 'status', 'usage', 'inputTokens')} in, "
        f"{number(session, 'status', 'usage', 'outputTokens')} out",
        "Age": age(text(session, "metadata", "creationTimestamp"), now),
    }
    for key, value in facts.items():
        if value:
            click.echo(f"{key + ':':<10} {one_line(value)}")
    for one in objects(session, "status", "conditions"):
        if text(one, "status") == "False":
            said = f"{text(one, 'reason')}: {text(one, 'message')}"
            click.echo(f"{'Not ' + text(one, 'type') + ':':<10} {one_line(said)}")
    events = objects(session, "status", "recentEvents")
    if events:
        click.echo()
    for event in events:
        who = text(event, "speaker") or text(event, "role") or text(event, "type")
        click.echo(f"{age(text(event, 'time'), now):>7}  {clean(who)}: {clean(text(event, 'text'))}")
    if number(session, "status", "events", "count") > len(events):
        click.echo(f"\nAll of it: parley events {name_of(session)}", err=True)


def must_exist(app: App, name: str) -> JsonObject:
    """The session of that name.

    Raises:
        CliError: there is none.
    """
    from parley.kube.errors import NotFound

    try:
        return app.kube.get(SESSION, app.namespace, name)
    except NotFound as error:
        raise CliError(
            f"there is no Session {name} in namespace {app.namespace}",
            f"parley sessions -n {app.namespace}",
        ) from error
