"""Print an answer as its pieces come, and exactly once when the whole has come."""

import click

from parley.api.events import EventView
from parley.api.stream import DeltaView
from parley.cli.event_view import said_by
from parley.cli.options import wants_colour
from parley.cli.reading import text
from parley.cli.text import clean


class AnswerPrinter:
    """Pieces may be missing, may begin anew, may come after the whole: what is on the terminal in the end is the whole.

    Args:
        quiet: print nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._shown = ""
        self._place: tuple[str, str, int, int] | None = None
        self._gap = False

    def delta(self, piece: DeltaView) -> None:
        """Print a piece, if it goes on where the last one ended."""
        place = (piece.task, piece.step, piece.attempt, piece.round)
        if place != self._place:
            # Another attempt, or another round of it: what was shown of the one before stands as it is.
            self.end_line()
            self._place = place
        if piece.offset < len(self._shown):
            self.end_line()
            self._place = place
            self._gap = piece.offset > 0
        elif piece.offset > len(self._shown):
            self._gap = True
        if not self._gap:
            self._shown += piece.text
            self._print(clean(piece.text), end=False)

    def event(self, event: EventView) -> None:
        """Print what was committed, without what is on the terminal already."""
        if event.type == "message" and isinstance(event.content, str):
            self._whole(event.content)
            return
        if event.type == "toolCall" and text(event.content, "text"):
            self._whole(text(event.content, "text"))
        self.end_line()
        colour = wants_colour(err=True)
        line = f"· {said_by(event)}"
        if not self._quiet:
            click.echo(click.style(line, dim=True) if colour else line, err=True)

    def _whole(self, said: str) -> None:
        if said.startswith(self._shown):
            self._print(clean(said[len(self._shown) :]), end=True)
        else:
            self.end_line()
            self._print(clean(said), end=True)
        self._shown, self._place, self._gap = "", None, False

    def end_line(self) -> None:
        """Begin a line anew, if one was begun."""
        if self._shown:
            self._print("", end=True)
        self._shown, self._place, self._gap = "", None, False

    def _print(self, text: str, *, end: bool) -> None:
        if not self._quiet:
            click.echo(text, nl=end)
