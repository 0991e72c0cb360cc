"""How a session's events look."""

import json
from collections.abc import Iterator, Sequence
from typing import cast

import click
from pydantic import JsonValue

from parley.api.events import MAX_EVENTS, EventType, EventView
from parley.cli.app import App, Format
from parley.cli.gateway import FOLLOWING
from parley.cli.options import wants_colour
from parley.cli.output import as_text, print_value
from parley.cli.reading import as_value, dig, text
from parley.cli.text import clean, fit, one_line
from parley.client import Parley

_WHO = {"user": "cyan", "assistant": "green"}
_LONGEST = 160


def show_events(
    app: App, session: str, *, follow: bool, tail: int, after: int | None, types: Sequence[str]
) -> None:
    """Print events; with ``follow`` also those that come."""
    wanted = cast("Sequence[EventType]", types)
    output = app.settings.output
    document = output in {"json", "yaml"} and not follow
    with app.gateway() as parley:
        whole: list[EventView] = []
        printed, last = False, 0
        for page, known in _pages(parley, session, tail=tail, after=after, types=wanted):
            last = known
            printed = printed or bool(page)
            if document:
                whole += page
                continue
            for event in page:
                _print(event, output)
        if document:
            print_value({"items": as_value(one.to_json() for one in whole)}, output)
            return
        if not follow:
            if not printed:
                click.echo(f"Session {session} has no such events; it has {last} in all.", err=True)
            return
        parley.retries = FOLLOWING
        for item in parley.stream(session, after=last):
            if isinstance(item, EventView) and (not wanted or item.type in wanted):
                _print(item, output)
    click.echo(f"Session {session} is gone.", err=True)


def _pages(
    parley: Parley, session: str, *, tail: int, after: int | None, types: Sequence[EventType]
) -> Iterator[tuple[list[EventView], int]]:
    """The events to begin with, and after each page the sequence up to which they are all there are."""
    if after is None:
        yield _last(parley, session, tail, types)
        return
    last = after
    while True:
        page = parley.list_events(session, after=last, limit=MAX_EVENTS, types=types)
        last = max(page.last_sequence, last) if page.next_after is None else page.next_after
        yield page.items, last
        if page.next_after is None:
            return


def _last(parley: Parley, session: str, tail: int, types: Sequence[EventType]) -> tuple[list[EventView], int]:
    page = parley.list_events(session, limit=1)
    last = page.last_sequence
    found: list[EventView] = []
    before = last + 1
    while len(found) < tail and before > 1:
        room = min(MAX_EVENTS, tail - len(found))
        page = parley.list_events(session, before=before, limit=room, types=types)
        found = [*page.items, *found]
        if page.next_before is None or not page.items:
            break
        before = page.next_before
    return found, last


def _print(event: EventView, output: Format) -> None:
    if output == "json":
        click.echo(json.dumps(event.to_json(), ensure_ascii=False))
        return
    if output == "yaml":
        click.echo("---")
        print_value(event.to_json(), output)
        return
    colour = wants_colour()
    who = clean(event.speaker or event.role or event.type)
    head = f"{event.sequence:>5}  {event.time:%Y-%m-%d %H:%M:%S}  "
    if colour:
        head = click.style(head, dim=True)
        who = click.style(who, fg=_WHO.get(event.role or ""))
    said = said_by(event).replace("\n", "\n" + " " * 28)
    click.echo(f"{head}{who}: {said}", color=colour or None)


def said_by(event: EventView) -> str:
    """An event in words."""
    content = event.content
    if content is None:
        return "(erased)"
    if event.type == "message":
        return clean(as_text(content))
    if event.type == "toolCall":
        return f"calls {text(content, 'tool')}({_short(dig(content, 'arguments'))})"
    if event.type == "toolResult":
        return f"{text(content, 'tool')} gave {text(content, 'note') or _short(dig(content, 'result'))}"
    if event.type == "reply":
        answer = text(content, "choice") or _short(dig(content, "value"))
        by = text(content, "by")
        return f"{one_line(text(content, 'question'))} — {answer}{f' (by {by})' if by else ''}"
    return f"{event.type}: {_short(content)}"


def _short(value: JsonValue) -> str:
    whole = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return fit(one_line(whole), _LONGEST)
